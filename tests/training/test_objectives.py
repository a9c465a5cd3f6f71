"""The losses are the paper's."""

from pathlib import Path

import pytest
import torch

from tests.training.conftest import tiny_config
from training.cyclegan import CycleGAN
from training.objectives import OBJECTIVES, HistoryPool, cycle_loss


def test_lsgan_is_least_squares() -> None:
    real, fake = torch.tensor([0.0, 2.0, 1.0]), torch.tensor([1.0, 0.5, -1.0])
    assert OBJECTIVES["lsgan"].generator(fake) == pytest.approx((0 + 0.25 + 4) / 3)
    assert OBJECTIVES["lsgan"].critic(real, fake) == pytest.approx(0.5 * (1 + 1 + 0) / 3 + 0.5 * (1 + 0.25 + 1) / 3)


def test_cycle_loss_is_the_mean_absolute_difference() -> None:
    assert cycle_loss(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), -0.25)) == pytest.approx(0.25)


def test_the_full_loss_is_the_sum_that_the_paper_writes(domains: tuple[Path, Path]) -> None:
    model = CycleGAN(tiny_config(domains, lambda_cycle=7.0, lambda_identity=0.3))
    x, y = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        loss, _, fake_y, fake_x = model.generator_losses(x, y)
        adversarial = (model.D_Y(model.G(x)) - 1).square().mean() + (model.D_X(model.F(y)) - 1).square().mean()
        cycle = (model.F(model.G(x)) - x).abs().mean() + (model.G(model.F(y)) - y).abs().mean()
        identity = (model.G(y) - y).abs().mean() + (model.F(x) - x).abs().mean()
    assert float(loss) == pytest.approx(float(adversarial + 7 * cycle + 7 * 0.3 * identity), rel=1e-4)
    assert torch.allclose(fake_y, model.G(x), atol=1e-5)
    assert torch.allclose(fake_x, model.F(y), atol=1e-5)


def test_the_pool_first_fills_then_gives_old_pictures_back_half_of_the_time() -> None:
    pool = HistoryPool(size=10, seed=0)
    pictures = [torch.full((1, 1, 1, 1), float(i)) for i in range(500)]
    shown = [int(pool.exchange(picture)) for picture in pictures]
    assert shown[:10] == list(range(10))
    old = sum(value != i for i, value in enumerate(shown))
    assert 200 < old < 290
    assert HistoryPool(size=0, seed=0).exchange(pictures[3]) is pictures[3]


def test_the_pool_goes_on_from_its_state_as_if_never_stopped() -> None:
    pool, resumed = HistoryPool(4, seed=1), HistoryPool(4, seed=2)
    for i in range(20):
        pool.exchange(torch.full((1, 1), float(i)))
    resumed.load_state_dict(pool.state_dict())
    for i in range(20):
        picture = torch.full((1, 1), float(i))
        assert pool.exchange(picture) == resumed.exchange(picture)
