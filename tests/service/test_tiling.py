"""Large pictures, in tiles: of a small random generator as the service runs it."""

import io
import math
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from service.engine.tiler import Canvas, cut, thumbnail
from tests.conftest import PHOTO, Service, assert_problem, decoded, encoded, running_service, wait_until
from training.export import write_bundle
from training.generators import ResnetGenerator, Widths, initialise
from training.graph import export_checked

IMPORTED = {"imported": {"file": "random.pth", "sha256": "0"}, "about": None}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle there and one back."""
    models = tmp_path_factory.mktemp("models")
    with Image.open(PHOTO) as picture:
        pictures = [np.asarray(picture.resize((160, 96)))]
    for source, target, seed in (("day", "dusk", 1), ("dusk", "day", 2)):
        torch.manual_seed(seed)
        generator = initialise(ResnetGenerator(Widths.of(8, 2), "nearest")).eval()
        exported = export_checked(generator, pictures)
        write_bundle(models, source, target, exported, licence="none", trained_size=64, training=IMPORTED, evaluation={})
    return models


@pytest.fixture(scope="module")
def tiling(models: Path) -> Iterator[Service]:
    """A service that runs pictures above the default budget, 1024 × 1024 pixels, in tiles."""
    with running_service(models=models, deadline_seconds=60) as running:
        yield running


@pytest.fixture(scope="module")
def large() -> bytes:
    return encoded(Image.open(PHOTO).resize((1800, 1200), Image.Resampling.LANCZOS), "PNG")


def test_tiles_make_the_picture_that_one_pass_makes_and_show_no_seam(models: Path, tiling: Service, large: bytes) -> None:
    in_tiles = decoded(tiling.translate(large, "day2dusk", size="original").content).astype(float)
    with running_service(models=models, max_batch_pixels=1800 * 1200) as one_pass:
        whole = decoded(one_pass.translate(large, "day2dusk", size="original").content).astype(float)
    assert 10 * np.log10(255**2 / np.mean((in_tiles - whole) ** 2)) > 30

    tiling_graph = onnxruntime.InferenceSession(models / "day2dusk" / "1" / "tiling.onnx", providers=["CPUExecutionProvider"])
    pixels = np.asarray(Image.open(io.BytesIO(large)))
    own = np.full((1, tiling_graph.get_inputs()[1].shape[1]), np.nan, np.float32)
    _, statistics = tiling_graph.run(None, {"pictures": thumbnail(pixels, 1024 * 1024, 8)[None], "statistics": own})
    without_tiles, _ = tiling_graph.run(None, {"pictures": pixels[None], "statistics": statistics})
    assert np.abs(in_tiles - without_tiles[0]).max() <= 1  # so no border of a tile can be seen


@pytest.mark.parametrize(("height", "width", "multiple"), [(1200, 1800, 4), (8, 5000, 4), (644, 640, 4), (1024, 2048, 256)])
def test_tiles_blend_into_the_very_picture_they_were_cut_from(height: int, width: int, multiple: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    canvas, tiles = Canvas(height, width), list(cut(height, width, multiple, 8))
    for tile in tiles:
        canvas.add(tile, pixels[tile.rows, tile.columns])
        assert tile.rows.start % multiple == tile.columns.start % multiple == 0
    assert len({pixels[tile.rows, tile.columns].shape for tile in tiles}) == 1
    assert (canvas.pixels() == pixels).all()


@pytest.mark.parametrize("shape", [(350_000, 8), (8, 350_000), (7000, 7000)])
def test_tiles_of_extreme_shapes_weigh_no_more_than_others(shape: tuple[int, int]) -> None:
    tracemalloc.start()
    try:
        assert sum(tile.row_weights.size * tile.column_weights.size for tile in cut(*shape, 4, 8)) < 1.8 * math.prod(shape)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(1200, 1800, 3), (8, 100_000, 3), (100_000, 8, 3)])
def test_a_thumbnail_keeps_to_its_budget(shape: tuple[int, int, int]) -> None:
    height, width, _ = thumbnail(np.zeros(shape, np.uint8), 40_000, 8).shape
    assert min(height, width) >= 8
    assert 39_000 < height * width <= 40_000


def test_small_pictures_are_not_held_up_behind_a_large_one(tiling: Service, large: bytes) -> None:
    small = encoded(Image.open(PHOTO).resize((96, 64)), "PNG")
    larger = encoded(Image.open(io.BytesIO(large)).resize((4000, 3000)), "JPEG")
    with ThreadPoolExecutor(1) as other:
        pending = other.submit(tiling.translate, larger, "day2dusk", size="original")
        answered = 0
        while not pending.done():
            assert tiling.translate(small, "day2dusk").status_code == 200
            answered += not pending.done()
    assert decoded(pending.result().content).shape == (3000, 4000, 3)
    assert answered > 3


def test_a_large_picture_stops_when_its_client_hangs_up(tiling: Service, large: bytes) -> None:
    larger = encoded(Image.open(io.BytesIO(large)).resize((5600, 4200)), "JPEG")

    def runs() -> float:
        lines = tiling.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith('cyclegan_inference_seconds_count{direction="dusk2day"'))

    url = f"{tiling.url}/translate?direction=dusk2day&size=original"
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url, files={"image": larger}, timeout=httpx.Timeout(60, read=2))
    wait_until(lambda: 'path="/translate",status="499"' in tiling.client.get("/metrics").text)
    time.sleep(1)
    stopped = runs()
    time.sleep(1)
    assert runs() == stopped
    assert stopped < len(list(cut(4200, 5600, 4, 8)))


def test_a_large_picture_that_cannot_be_done_by_the_deadline_is_told_what_could(models: Path, large: bytes) -> None:
    with running_service(models=models, deadline_seconds=0.3) as hurried:
        larger = encoded(Image.open(io.BytesIO(large)).resize((5600, 4200)), "JPEG")
        assert "but the limit is" in assert_problem(hurried.translate(larger, "day2dusk", size="original"), 422)["detail"]
        assert hurried.translate(encoded(Image.open(PHOTO).resize((64, 64)), "PNG"), "day2dusk").status_code == 200
