"""What a run is judged by: each fault that people see is seen by the measure that is for it, and what is told of the figures."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from models.bundle import read_manifest
from tests.conftest import PICTURES, ROOT
from tests.training.conftest import run_command, tiny_config
from training import evaluation
from training.__main__ import main
from training.card import model_card
from training.config import ConfigError
from training.data import Pixels
from training.generators import ResnetGenerator, UnetGenerator, Widths
from training.judging import measures
from training.judging.features import EfficientNetLite0
from training.judging.figures import Judge, closed, score
from training.judging.likeness import Translate, shift_consistency
from training.sampling import translator
from training.trainer import Trainer

SIDE = 192
Change = Callable[[Pixels], np.ndarray]


def crops(name: str, count: int = 6) -> list[Pixels]:
    """Of one photograph, with a flat sky above each."""
    with Image.open(PICTURES / f"{name}.jpg") as image:
        pictures = [np.array(image.resize((480, 320)).crop((40 * i, 60, 40 * i + SIDE, 60 + SIDE))) for i in range(count)]
    for pixels in pictures:
        pixels[:48] = (120, 150, 200)
    return pictures


def changed(change: Change) -> Translate:
    return lambda pixels: np.stack([change(each.astype(np.float64)).round().clip(0, 255).astype(np.uint8) for each in pixels])


def lattice(period: int) -> Change:
    return lambda pixels: pixels + 4 * (np.arange(pixels.shape[1]) % period < period // 2)[None, :, None]


def framed(pixels: np.ndarray) -> np.ndarray:
    inner = np.zeros(pixels.shape)
    inner[20:-20, 20:-20] = 1
    return np.where(inner, pixels, pixels - 25)


def grainy(pixels: np.ndarray) -> np.ndarray:
    return pixels + np.random.default_rng(0).normal(0, 5, pixels.shape[:2])[..., None]


CHANGES: dict[str, Change] = {
    "nothing": lambda pixels: pixels,
    "contrast": lambda pixels: pixels.mean() + (pixels - pixels.mean()) / 2,
    "red": lambda pixels: pixels * [0.5, 1, 1],
    "cast": lambda pixels: pixels + np.array([60, -30, -50]),
    "grey": lambda pixels: pixels.mean(axis=2, keepdims=True).repeat(3, axis=2),
    "swapped": lambda pixels: pixels[..., ::-1],
    "grain": grainy,
    "lattice of 2": lattice(2),
    "lattice of 4": lattice(4),
    "lattice of 8": lattice(8),
    "frame": framed,
    "other": lambda pixels: pixels[::-1],
}


@pytest.fixture(scope="module")
def figures() -> dict[str, dict[str, float]]:
    """Of translations into what the sources are, with a fault each."""
    photographs = crops("china") + crops("coffee")
    judge = Judge(photographs[1:], photographs, photographs[::-1], {"kid": EfficientNetLite0()})
    return {name: judge.figures(changed(change))[0] for name, change in CHANGES.items()}


def test_a_translation_that_changes_nothing_has_no_fault(figures: dict[str, dict[str, float]]) -> None:
    perfect = figures["nothing"]
    assert perfect["content"] == pytest.approx(1, abs=0.01)
    assert (perfect["colour"], perfect["contrast"], perfect["frame"], perfect["grain"]) == (1, 1, 0, 0)
    assert perfect["shift_psnr"] == 60
    assert perfect["kid"] == perfect["kid_base"]


@pytest.mark.parametrize(
    ("fault", "figure", "least"),
    [
        ("contrast", "contrast", -0.4), ("red", "chroma", 5.0), ("cast", "chroma", 20.0), ("grey", "chroma", -20.0),
        ("swapped", "colour", -0.5), ("grain", "grain", 3.0), ("grain", "grain_90", 3.0), ("frame", "frame", 20.0),
        ("lattice of 2", "weave_2", 5.0), ("lattice of 4", "weave_4", 5.0), ("lattice of 8", "weave_8", 3.0),
        ("lattice of 4", "shift_psnr", -10.0), ("other", "content", -0.4),
        *((fault, "kid", 100.0) for fault in ("contrast", "red", "cast", "grey", "swapped", "grain", "lattice of 4")),
    ],
)  # fmt: skip
def test_a_fault_is_seen_by_the_figure_that_is_for_it(figures: dict[str, dict[str, float]], fault: str, figure: str, least: float) -> None:
    difference = figures[fault][figure] - figures["nothing"][figure]
    assert difference / least > 1, f"{fault} changes {figure} by {difference}"


def test_every_fault_costs_score(figures: dict[str, dict[str, float]]) -> None:
    real = {"kid_floor": 0.0, "kid_base": 5000.0}
    scores = {name: score(figures[name] | real) for name in figures}
    best = scores.pop("nothing")
    assert all(each < best for each in scores.values()), scores


def test_a_single_picket_fence_is_no_weave() -> None:
    pictures = crops("china", 6) * 8
    fence = np.where(np.arange(SIDE) % 4 < 2, 40, 220).astype(np.uint8)[None, :, None] * np.ones((SIDE, 1, 3), np.uint8)
    assert measures.weave([*pictures[1:], fence], 4) < 1.5 * measures.weave(pictures, 4)


def test_what_cannot_be_measured_is_left_out_and_the_rest_is_not() -> None:
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (40, 40, 3), np.uint8) for _ in range(3)]
    figures, _ = Judge(noise, noise, noise, {"kid": EfficientNetLite0()}).figures(changed(CHANGES["nothing"]))
    assert not {"grain", "weave_4", "cycle_psnr", "cycle_lpips"} & figures.keys()
    assert {"kid", "colour", "frame", "shift_psnr"} <= figures.keys()
    assert math.isfinite(score(figures))
    assert math.isnan(shift_consistency(changed(CHANGES["nothing"]), [noise[0][:30]], [noise[0][:30]]))


@pytest.mark.parametrize("generator", [UnetGenerator(ngf=2, n_downs=5), ResnetGenerator(Widths.of(ngf=2, n_blocks=1))])
def test_a_translation_has_its_pictures_size(generator: nn.Module) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 37, 66, 3), np.uint8)
    translations = translator(generator.eval())(pictures)
    assert translations.shape == pictures.shape
    assert translations.dtype == np.uint8


@pytest.mark.parametrize(("value", "told"), [(30.0, "100%"), (40.0, "80%"), (80.0, "0%"), (90.0, "-20%")])
def test_closed_is_the_share_of_the_way_from_base_to_floor(value: float, told: str) -> None:
    assert closed({"fid": value, "fid_floor": 30.0, "fid_base": 80.0}, "fid") == told
    assert closed({"fid": value, "fid_floor": 80.0, "fid_base": 80.0}, "fid") == "–"


class Spy:
    """In place of a Judge: keeps the pictures that it is given."""

    def __init__(self, *sets: object) -> None:
        judged.append(sets[:3])
        self.source = judged[-1][0]

    def figures(self, *_: object) -> tuple[dict[str, float], list[Pixels]]:
        return {}, self.source


judged: list[tuple] = []


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    judged.clear()
    monkeypatch.setattr(evaluation, "Judge", Spy)
    return judged


def test_plain_folders_are_judged_by_their_own_pictures_shrunk_where_they_are_large(tmp_path: Path, spied: list[tuple]) -> None:
    _untrained(tmp_path, day=[(700, 600)] * 3, dusk=[(80, 60)] * 3)
    evaluation.evaluate_run(tmp_path, evaluation.EvaluationOptions(2))
    day, dusk = (512, 597, 3), (60, 80, 3)
    assert [[[picture.shape for picture in pictures] for pictures in sets] for sets in spied] == [
        [[day] * 2, [dusk] * 2, [dusk] * 2],
        [[dusk] * 2, [day] * 2, [day] * 2],
    ]


def test_a_few_are_judged_that_stand_for_the_whole_folder(tmp_path: Path, spied: list[tuple]) -> None:
    _untrained(tmp_path, day=[(32, 32)] * 9, dusk=[(32, 32)] * 2)
    evaluation.evaluate_run(tmp_path, evaluation.EvaluationOptions(3))
    assert [[int(pixels[0, 0, 0]) for pixels in pictures] for pictures in spied[0][:2]] == [[0, 75, 150], [0, 25]]


def test_a_folder_of_a_single_picture_is_refused(tmp_path: Path) -> None:
    _untrained(tmp_path, day=[(64, 64)] * 2, dusk=[(64, 64)])
    with pytest.raises(ConfigError, match="two in each folder"):
        evaluation.evaluate_run(tmp_path, evaluation.EvaluationOptions(2))


def test_lpips_is_measured_there_and_back_or_told_what_it_needs(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, brighter = crops("china", 2), changed(lambda pixels: pixels + 10)
    judge = Judge(pictures, pictures, pictures, {}, lpips=lambda a, b: float(np.abs(b.astype(int) - a).max()))
    assert judge.figures(brighter, brighter)[0]["cycle_lpips"] == 20
    monkeypatch.setattr("training.judging.likeness.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"--lpips needs AlexNet from torchvision.*pip install torchvision"):
        evaluation.evaluate_run(finished_run, evaluation.EvaluationOptions(2, lpips=True))


def test_a_runs_figures_can_be_left_elsewhere(finished_run: Path, tmp_path: Path, spied: list[tuple]) -> None:
    evaluation.evaluate_run(finished_run, evaluation.EvaluationOptions(2), output=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"evaluation.json", "day2dusk.jpg", "dusk2day.jpg"}
    assert len(spied) == 2


def test_a_file_that_is_no_vgg_is_refused_by_name(finished_run: Path, tmp_path: Path) -> None:
    torch.save({"0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"other\.pth.*vgg19"):
        evaluation.evaluate_run(finished_run, evaluation.EvaluationOptions(2, features=tmp_path / "other.pth"))


def test_a_shipped_bundle_is_judged_with_a_sheet_and_its_card_tells_the_same(
    domains: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ROOT / "models" / "photo2monet"
    words = ("--model", model, "--source", domains[0], "--target", domains[1], "--count", 4, "--output", tmp_path, "--beside", model)
    run_command("evaluate", *words)
    told = capsys.readouterr().out
    figures = json.loads((tmp_path / "evaluation.json").read_text())["directions"]["photo2monet"]
    assert {"kid", "kid_floor", "kid_base", "content", "colour", "chroma", "frame", "cycle_psnr", "score"} <= figures.keys()
    assert f"{figures['kid']:.1f}" in told
    assert max(map(len, told.split("sheet:")[0].splitlines())) <= 80
    with Image.open(tmp_path / "photo2monet.jpg") as sheet:
        assert sheet.size == (6 * 256, 2 * 256)
    card = _card(figures)
    told_kid = " | ".join(f"{figures[key]:.1f}" for key in ("kid", "kid_floor", "kid_base"))
    assert f"| KID × 10³ (EfficientNet) | {told_kid} | {closed(figures, 'kid')} |" in card
    assert re.search("Worse than they should be: .*grain", card)


@pytest.mark.parametrize("words", [(), ("--model", "models/photo2monet"), ("--run", "x", "--model", "models/photo2monet")])
def test_evaluate_says_what_it_must_be_given(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["training", "evaluate", *words])
    with pytest.raises(SystemExit, match="give --run, or --model with --source and --target"):
        main()


def test_a_card_of_figures_that_are_no_longer_made_has_no_table() -> None:
    assert "It was not evaluated." in _card({"swd": 40.54, "swd_floor": 31.58, "swd_base": 79.25})


def _untrained(run: Path, **sizes: list[tuple[int, int]]) -> None:
    """A run of no steps, with pictures of these sizes in a folder a domain."""
    for domain, pictures in sizes.items():
        (run / domain).mkdir()
        for i, size in enumerate(pictures):
            Image.new("RGB", size, (25 * i, 0, 0)).save(run / domain / f"{i}.png")
    Trainer(tiny_config((run / "day", run / "dusk")), run).save()


def _card(figures: dict[str, float]) -> str:
    manifest = read_manifest(ROOT / "models" / "photo2monet")
    newest = manifest.versions[-1]
    version = newest.model_copy(update={"evaluation": figures | {"parity": newest.evaluation["parity"]}})
    return model_card(manifest.model_copy(update={"versions": (version,)}), shown=None)
