"""FID and KID by Inception, and likeness there and back."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.conftest import PICTURES
from training import evaluation
from training.config import ConfigError
from training.data import Pixels
from training.judging.inception import FEATURES, fid, kid, load_inception
from training.judging.likeness import psnr, ssim


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
        evaluation.evaluate_run(finished_run, evaluation.EvaluationOptions(2, inception=file))


def test_psnr_is_the_textbooks() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black, black + 1) == pytest.approx(48.13, abs=0.01)
