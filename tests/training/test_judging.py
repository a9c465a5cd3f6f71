"""What a run is judged by: likeness there and back, the distances between sets of pictures, and what is told of them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from models.bundle import read_manifest
from tests.conftest import PICTURES, ROOT
from tests.training.conftest import command, tiny_config
from training import evaluation
from training.card import model_card
from training.config import ConfigError
from training.data import Pixels
from training.generators import ResnetGenerator, UnetGenerator, Widths
from training.metrics import FEATURES, closed, fid, kid, load_inception, ssim
from training.trainer import Trainer

DISTANCES = {"swd", "swd_floor", "swd_base"}
CYCLE = {"cycle_psnr", "cycle_ssim"}
OF_INCEPTION = {"fid", "fid_floor", "fid_base", "kid", "kid_floor", "kid_base"}


def _features(pictures: Tensor) -> Tensor:
    """A few colours of each picture, and zeros up to 2048."""
    colours = nn.functional.adaptive_avg_pool2d(pictures.float() / 255, 4).flatten(1)
    return nn.functional.pad(colours, (0, 2048 - 48))


class LikeNvidias(nn.Module):
    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        features = _features(img)
        return features if return_features else features[:, :1008]


class Plain(nn.Module):
    def forward(self, img: Tensor) -> Tensor:
        return _features(img)


class Classifier(nn.Module):
    def forward(self, img: Tensor) -> Tensor:
        return _features(img)[:, :1000]


class Pair(nn.Module):
    def forward(self, img: Tensor) -> tuple[Tensor, Tensor]:
        return _features(img), img


def _saved(network: nn.Module, folder: Path) -> Path:
    file = folder / f"{type(network).__name__}.pt"
    torch.jit.script(network).save(file)
    return file


@pytest.fixture(scope="module")
def network_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _saved(LikeNvidias(), tmp_path_factory.mktemp("network"))


def _crops(name: str, count: int = 6, noise: float = 0.0) -> list[Pixels]:
    random = np.random.default_rng(0)
    with Image.open(PICTURES / f"{name}.jpg") as image:
        pictures = [np.asarray(image.crop((40 * i, 30, 40 * i + 100, 110)), np.float32) for i in range(count)]
    return [(picture + noise * random.normal(size=picture.shape)).clip(0, 255).astype(np.uint8) for picture in pictures]


def test_ssim_is_1_of_equal_pictures_and_falls_with_noise() -> None:
    (clean,) = _crops("china", 1)
    likeness = [ssim(clean, _crops("china", 1, noise)[0]) for noise in (0, 10, 60)]
    assert likeness[0] == pytest.approx(1, abs=1e-4)
    assert 1 > likeness[0] - 1e-4 > likeness[1] > likeness[2] > 0


def test_fid_and_kid_are_near_nothing_for_a_set_and_itself_and_grow_with_the_difference(network_file: Path) -> None:
    inception = load_inception(network_file)
    china, noisy, coffee = (inception(pictures) for pictures in (_crops("china"), _crops("china", noise=60), _crops("coffee", 5)))
    assert fid(china, china) == pytest.approx(0, abs=1e-4)
    assert fid(china, china) < fid(china, noisy) < fid(china, coffee)
    assert kid(china, china) <= 0 < kid(china, coffee)
    assert kid(china, coffee) == kid(china, coffee)


def test_fid_is_the_formulas() -> None:
    random = np.random.default_rng(0)
    a, b = (random.normal(centre, width, (40, 8)) for centre, width in ((0, 1), (0.5, 2)))
    covariances = np.cov(a.T), np.cov(b.T)
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1]) - 2 * roots
    wide = (torch.tensor(np.pad(features, ((0, 0), (0, FEATURES - 8)))) for features in (a, b))
    assert fid(*wide) == pytest.approx(expected)


def test_kid_fits_small_sets_and_leaves_torchs_random_numbers_alone() -> None:
    features = torch.rand(60, FEATURES).double()
    state = torch.get_rng_state()
    assert kid(features[:2], features) == kid(features[:2], features)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_is_called_the_way_that_it_takes(network_file: Path, tmp_path: Path) -> None:
    pictures = [_crops("china", 1)[0], _crops("coffee", 1)[0][:70]]
    as_nvidias, plain = (load_inception(file)(pictures) for file in (network_file, _saved(Plain(), tmp_path)))
    assert as_nvidias.shape == (2, FEATURES)
    assert torch.equal(as_nvidias, plain)


@pytest.mark.parametrize("network", [Classifier(), Pair(), None])
def test_a_file_that_is_no_such_network_is_refused_before_anything_is_judged(
    finished_run: Path, tmp_path: Path, network: nn.Module | None
) -> None:
    file = _saved(network, tmp_path) if network else tmp_path / "missing.pt"
    with pytest.raises(ConfigError, match=rf"{re.escape(str(file))}.*2048.*--inception"):
        evaluation.evaluate_run(finished_run, 2, file)


@pytest.mark.parametrize("generator", [UnetGenerator(ngf=2, n_downs=5), ResnetGenerator(Widths.of(ngf=2, n_blocks=1))])
def test_a_translation_has_its_pictures_size(generator: nn.Module) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 37, 66, 3), np.uint8)
    translations = evaluation.translator(generator.eval())(pictures)
    assert translations.shape == pictures.shape
    assert translations.dtype == np.uint8


@pytest.mark.parametrize(("value", "told"), [(30.0, "100%"), (40.0, "80%"), (80.0, "0%"), (90.0, "-20%")])
def test_closed_is_the_share_of_the_way_from_base_to_floor(value: float, told: str) -> None:
    assert closed({"fid": value, "fid_floor": 30.0, "fid_base": 80.0}, "fid") == told
    assert closed({"fid": value, "fid_floor": 80.0, "fid_base": 80.0}, "fid") == "–"


def test_plain_folders_are_judged_by_their_own_pictures_shrunk_where_they_are_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _untrained(tmp_path, day=[(700, 600)] * 3, dusk=[(80, 60)] * 3)
    judged = []
    monkeypatch.setattr(evaluation, "judge", lambda there, back, *sets: judged.append(sets[:3]) or {})
    evaluation.evaluate_run(tmp_path, 2)
    day, dusk = (512, 597, 3), (60, 80, 3)
    assert [[[picture.shape for picture in pictures] for pictures in sets] for sets in judged] == [
        [[day] * 2, [dusk] * 2, [dusk] * 2],
        [[dusk] * 2, [day] * 2, [day] * 2],
    ]


def test_fid_and_kid_of_a_single_picture_are_refused(tmp_path: Path, network_file: Path) -> None:
    _untrained(tmp_path, day=[(64, 64)] * 2, dusk=[(64, 64)])
    with pytest.raises(ConfigError, match="two pictures of each folder"):
        evaluation.evaluate_run(tmp_path, 2, network_file)


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy, for figures of its own."""
    return shutil.copytree(finished_run, tmp_path / "run")


def test_evaluate_tells_what_it_left_out_and_how_to_have_it(run: Path) -> None:
    evaluated = _evaluate(run)
    directions = json.loads((run / "evaluation.json").read_text())["directions"]
    assert {direction: set(figures) for direction, figures in directions.items()} == dict.fromkeys(
        ("day2dusk", "dusk2day"), DISTANCES | CYCLE
    )
    assert "FID and KID are left out: for them, give --inception" in evaluated
    assert max(map(len, evaluated.split("FID")[0].splitlines())) <= 80


def test_evaluate_with_a_network_tells_fid_and_kid_and_so_does_the_card(run: Path, network_file: Path) -> None:
    evaluated = _evaluate(run, "--inception", network_file)
    figures = json.loads((run / "evaluation.json").read_text())["directions"]["day2dusk"]
    assert set(figures) == DISTANCES | CYCLE | OF_INCEPTION
    assert "left out" not in evaluated
    card = _card(figures)
    for key, name in (("swd", "sliced Wasserstein distance × 10³"), ("fid", "FID"), ("kid", "KID × 10³")):
        told = [f"{figures[key + part]:.1f}" for part in ("", "_floor", "_base")]
        assert re.search(rf"│ {name} +│ +{' +│ +'.join(map(re.escape, told))} │ +{closed(figures, key)} │", evaluated)
        assert f"| {name}: closed from base to floor | {closed(figures, key)} |" in card
    assert f"| cycle SSIM, there and back | {figures['cycle_ssim']:.2f} |" in card


def test_a_card_of_older_figures_has_only_their_rows() -> None:
    older = {"swd": 40.54, "swd_floor": 31.58, "swd_base": 79.25, "cycle_psnr": 20.58}
    card = _card(older)
    assert "closed from base to floor | 81% |" in card
    assert not any(absent in card for absent in ("SSIM", "FID", "KID"))


def test_a_few_are_judged_that_stand_for_the_whole_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = []
    monkeypatch.setattr(evaluation, "judge", lambda there, back, *pictures: judged.extend(pictures) or {})
    _untrained(tmp_path, day=[(32, 32)] * 9, dusk=[(32, 32)] * 2)
    evaluation.evaluate_run(tmp_path, 3)
    assert [[int(pixels[0, 0, 0]) for pixels in pictures] for pictures in judged[:2]] == [[0, 75, 150], [0, 25]]


def _untrained(run: Path, **sizes: list[tuple[int, int]]) -> None:
    """A run of no steps, with pictures of these sizes in a folder a domain."""
    for domain, pictures in sizes.items():
        (run / domain).mkdir()
        for i, size in enumerate(pictures):
            Image.new("RGB", size, (25 * i, 0, 0)).save(run / domain / f"{i}.png")
    Trainer(tiny_config((run / "day", run / "dusk")), run).save()


def _evaluate(run: Path, *arguments: object) -> str:
    words = command("evaluate", "--run", run, "--count", 4, *arguments)
    return subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def _card(figures: dict[str, float]) -> str:
    manifest = read_manifest(ROOT / "models" / "photo2monet")
    newest = manifest.versions[-1]
    version = newest.model_copy(update={"evaluation": figures | {"parity": newest.evaluation["parity"]}})
    return model_card(manifest.model_copy(update={"versions": (version,)}), has_samples=False)
