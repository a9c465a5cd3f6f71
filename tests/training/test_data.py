"""Folders of pictures to batches."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.conftest import tiny_config
from training import data
from training.config import ConfigError
from training.data import Domain, list_pictures, load_domains, read_pictures, to_pixels, to_tensor


def test_nested_folders_are_found_and_pictures_scaled_to_what_training_needs(domains: tuple[Path, Path]) -> None:
    x, y = load_domains(tiny_config(domains))
    assert (len(x.pictures), len(y.pictures)) == (8, 8)
    assert {min(picture.shape[:2]) for picture in x.pictures} == {48}


def test_the_layout_of_train_a_and_train_b_names_its_domains_by_the_folder_above(domains: tuple[Path, Path], tmp_path: Path) -> None:
    root = tmp_path / "day2dusk"
    for domain, letter in zip(domains, "AB", strict=True):
        shutil.copytree(domain / "train", root / f"train{letter}")
        shutil.copytree(domain / "test", root / f"test{letter}")
    config = tiny_config((root / "trainA", root / "trainB"))
    assert (config.direction, config.inverse) == ("day2dusk", "dusk2day")
    assert torch.equal(load_domains(config)[1].batch(3), load_domains(tiny_config(domains))[1].batch(3))
    assert picture_names(data.test_folder(config.target)) == picture_names(domains[1] / "test")


def picture_names(folder: Path) -> list[str]:
    return [path.name for path in list_pictures(folder)]


def test_a_plain_folder_of_pictures_is_a_domain_too(domains: tuple[Path, Path]) -> None:
    plain = domains[0] / "train"
    assert data.train_folder(plain) == data.test_folder(plain) == plain


def save_16_bit(path: Path) -> None:
    Image.fromarray((np.full((40, 40), 0.5) * 65535).astype(np.uint16)).save(path)


def save_cmyk(path: Path) -> None:
    Image.new("CMYK", (40, 40), (0, 0, 0, 127)).save(path)


def save_palette(path: Path) -> None:
    Image.new("RGB", (40, 40), (128, 128, 128)).quantize(4).save(path)


def save_half_transparent(path: Path) -> None:
    Image.new("RGBA", (40, 40), (0, 0, 0, 127)).save(path)  # on white: grey


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.png", save_16_bit),
        ("a.jpg", save_cmyk),
        ("a.gif", save_palette),
        ("a.PNG", save_half_transparent),
        ("a.tiff", save_cmyk),
        ("a.webp", save_half_transparent),
        ("a.avif", save_half_transparent),
    ],
)
def test_any_format_becomes_8_bit_rgb(tmp_path: Path, name: str, save: Callable[[Path], None]) -> None:
    save(tmp_path / name)
    (pixels,) = read_pictures(list_pictures(tmp_path))
    assert pixels.shape == (40, 40, 3)
    assert np.abs(pixels.astype(int) - 128).max() <= 2


def test_a_broken_file_is_named_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "good.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    assert len(read_pictures(list_pictures(tmp_path))) == 1
    assert "broken.jpg" in caplog.text


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir(), lambda folder: folder.write_text("x")])
def test_a_folder_without_pictures_is_refused_by_name(tmp_path: Path, make) -> None:
    make(tmp_path / "photos")
    with pytest.raises(ConfigError, match="photos"):
        list_pictures(tmp_path / "photos")


def test_the_same_step_gives_the_same_batch_and_another_seed_another(domains: tuple[Path, Path]) -> None:
    config = tiny_config(domains, batch_size=2)
    first, _ = load_domains(config)
    again = Domain(first.pictures, config, stream=0)
    assert torch.equal(first.batch(5), again.batch(5))
    assert not torch.equal(first.batch(5), first.batch(6))
    assert not torch.equal(first.batch(5), Domain(first.pictures, tiny_config(domains, batch_size=2, seed=1), stream=0).batch(5))


def test_an_epoch_shows_each_picture_once(domains: tuple[Path, Path]) -> None:
    config = tiny_config(domains, batch_size=2, flip=False, load_size=32)
    plain = [np.full((32, 32, 3), 10 * i, np.uint8) for i in range(8)]
    domain = Domain(plain, config, stream=0)
    for epoch in range(3):
        seen = [int(pixels[0, 0, 0]) for step in range(4) for pixels in to_pixels(domain.batch(epoch * 4 + step))]
        assert sorted(seen) == [10 * i for i in range(8)]


def test_crops_have_the_asked_size_and_range_whatever_the_pictures(domains: tuple[Path, Path]) -> None:
    pictures = [np.random.default_rng(0).integers(0, 256, shape, np.uint8) for shape in ((20, 300, 3), (33, 32, 3))]
    batch = Domain(pictures, tiny_config(domains, batch_size=4), stream=0).batch(0)
    assert batch.shape == (4, 3, 32, 32)
    assert batch.min() >= -1
    assert batch.max() <= 1


def test_a_crop_of_a_picture_that_needs_no_scaling_is_a_cut_of_it(domains: tuple[Path, Path]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    (crop,) = to_pixels(Domain([picture], tiny_config(domains, load_size=40), stream=0).batch(0))
    cuts = np.lib.stride_tricks.sliding_window_view(picture, (32, 32), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    assert any((cut == crop).all() or (cut[:, ::-1] == crop).all() for cut in cuts.reshape(-1, 32, 32, 3))


def test_bytes_survive_the_way_through_floats() -> None:
    pixels = np.arange(256 * 3, dtype=np.int64).astype(np.uint8).reshape(1, 16, 16, 3)
    assert (to_pixels(to_tensor(pixels)) == pixels).all()
