"""The losses are the papers'."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training.conftest import tiny_config
from training.cyclegan import CycleGAN
from training.objectives import (
    OBJECTIVES,
    HistoryPool,
    color_loss,
    content_loss,
    cycle_loss,
    gradient_penalty,
    lattice_loss,
    r1_penalty,
    shift_loss,
)

REAL, FAKE = [0.0, 2.0, -1.5], [1.0, 0.5, -2.0]


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize(
    ("name", "generator", "critic"),
    [
        (
            "lsgan",
            mean([(d - 1) ** 2 for d in FAKE]),
            0.5 * mean([(d - 1) ** 2 for d in REAL]) + 0.5 * mean([d**2 for d in FAKE]),
        ),
        (
            "minimax",
            mean([math.log(1 - sigmoid(d)) for d in FAKE]),
            -mean([math.log(sigmoid(d)) for d in REAL]) - mean([math.log(1 - sigmoid(d)) for d in FAKE]),
        ),
        (
            "nonsaturating",
            -mean([math.log(sigmoid(d)) for d in FAKE]),
            -mean([math.log(sigmoid(d)) for d in REAL]) - mean([math.log(1 - sigmoid(d)) for d in FAKE]),
        ),
        (
            "hinge",
            -mean(FAKE),
            mean([max(0, 1 - d) for d in REAL]) + mean([max(0, 1 + d) for d in FAKE]),
        ),
        ("wgan-gp", -mean(FAKE), mean(FAKE) - mean(REAL)),
    ],
)
def test_each_objective_is_its_papers_formula(name: str, generator: float, critic: float) -> None:
    assert OBJECTIVES[name].generator(torch.tensor(FAKE)) == pytest.approx(generator)
    assert OBJECTIVES[name].critic(torch.tensor(REAL), torch.tensor(FAKE)) == pytest.approx(critic)


def test_minimax_has_the_original_gans_pair_of_gradients() -> None:
    """d/dz log(1 − σ(z)) = −σ(z), which fades where the critic is sure; d/dz −log σ(z) = −(1 − σ(z))."""
    real, fake = torch.tensor(REAL, requires_grad=True), torch.tensor(FAKE, requires_grad=True)
    (generator,) = torch.autograd.grad(OBJECTIVES["minimax"].generator(fake), fake)
    assert generator.tolist() == pytest.approx([-sigmoid(d) / 3 for d in FAKE])
    of_real, of_fake = torch.autograd.grad(OBJECTIVES["minimax"].critic(real, fake), (real, fake))
    assert of_real.tolist() == pytest.approx([-(1 - sigmoid(d)) / 3 for d in REAL])
    assert of_fake.tolist() == pytest.approx([sigmoid(d) / 3 for d in FAKE])
    certain = torch.tensor([-200.0], requires_grad=True)
    assert OBJECTIVES["minimax"].critic(-certain, certain).isfinite()


class Slope(nn.Module):
    """Logits whose gradient by each of a picture's n pixels is `slope`: its squared norm is n · slope²."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x: Tensor) -> Tensor:
        return (self.slope * x).sum(dim=(1, 2, 3)).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_the_gradient_penalties_are_their_papers_and_reach_the_critic() -> None:
    critic, real, fake = Slope(0.5), torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    pixels = 3 * 4 * 4
    assert float(gradient_penalty(critic, real, fake)) == pytest.approx((math.sqrt(pixels) * 0.5 - 1) ** 2, rel=1e-5)
    penalty = r1_penalty(critic, real)  # of four answers, which are all the same
    assert float(penalty) == pytest.approx(4 * 0.5 * pixels * 0.25, rel=1e-5)
    penalty.backward()
    assert float(critic.slope.grad) == pytest.approx(4 * pixels * 0.5, rel=1e-5)  # type: ignore[arg-type]


def test_r1_means_the_same_for_small_and_large_crops() -> None:
    critic = nn.Conv2d(3, 1, 4, stride=4)
    small, large = (float(r1_penalty(critic, torch.rand(1, 3, side, side))) for side in (32, 128))
    assert small == pytest.approx(large, rel=1e-5)


def test_content_is_what_is_shown_and_not_its_contrast() -> None:
    level = torch.rand(1, 8, 16, 16)
    assert float(content_loss(level, 0.5 * level + 0.2)) < 1e-4
    assert float(content_loss(level, level.flip(3))) > 1


def test_the_color_loss_sees_casts_and_lost_colours_but_no_strokes() -> None:
    picture = torch.rand(1, 3, 64, 64) * 0.2 + torch.tensor([0.6, 0.1, -0.3])[:, None, None]
    strokes = picture + 0.2 * (torch.rand(1, 1, 64, 64) - 0.5)
    faded = picture.mean(dim=1, keepdim=True) + 0.5 * (picture - picture.mean(dim=1, keepdim=True))
    assert float(color_loss(picture, strokes)) < 0.001
    assert float(color_loss(picture, faded)) > 0.2


def test_the_shift_loss_is_nothing_for_what_moves_with_its_picture() -> None:
    def on_the_grid(x: Tensor) -> Tensor:
        return x + 0.5 * (torch.arange(x.shape[3]) % 4 == 0)

    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    assert float(shift_loss(nn.Identity(), picture, picture, noise=0)) == 0
    torch.manual_seed(1)  # moves it by other than a multiple of 4
    assert float(shift_loss(on_the_grid, picture, on_the_grid(picture), noise=0)) > 0.1


def test_the_lattice_loss_sees_what_repeats_every_four_pixels_and_no_other_texture() -> None:
    picture = torch.rand(1, 3, 128, 128) * 0.2
    weave = picture + 0.2 * (torch.arange(128) % 4 == 0)
    grain = picture + 0.2 * torch.rand(1, 3, 128, 128)
    assert float(lattice_loss(picture, weave)) > 20 * float(lattice_loss(picture, grain))


def test_cycle_loss_is_the_mean_absolute_difference() -> None:
    assert cycle_loss(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), -0.25)) == pytest.approx(0.25)


def test_the_full_loss_is_the_sum_that_the_paper_writes(domains: tuple[Path, Path]) -> None:
    model = CycleGAN(tiny_config(domains, lambda_cycle=7.0, lambda_identity=0.3))
    x, y = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        losses, fake_x, fake_y = model.generator_losses(model.view(x), model.view(y))
        adversarial = (model.D_Y(model.G(x)) - 1).square().mean() + (model.D_X(model.F(y)) - 1).square().mean()
        cycle = (model.F(model.G(x)) - x).abs().mean() + (model.G(model.F(y)) - y).abs().mean()
        identity = (model.G(y) - y).abs().mean() + (model.F(x) - x).abs().mean()
    assert float(losses.total) == pytest.approx(float(adversarial + 7 * cycle + 7 * 0.3 * identity), rel=1e-4)
    assert torch.allclose(fake_y.pixels, model.G(x), atol=1e-5)
    assert torch.allclose(fake_x.pixels, model.F(y), atol=1e-5)


def test_without_the_cycle_it_is_the_naive_pair(domains: tuple[Path, Path]) -> None:
    model = CycleGAN(tiny_config(domains, lambda_cycle=0.0))
    x, y = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        losses, _, _ = model.generator_losses(model.view(x), model.view(y))
        adversarial = (model.D_Y(model.G(x)) - 1).square().mean() + (model.D_X(model.F(y)) - 1).square().mean()
    assert losses.parts.keys() == {"G", "F"}
    assert float(losses.total) == pytest.approx(float(adversarial), rel=1e-4)


def test_a_teachers_translation_is_a_target_beside_the_critic(domains: tuple[Path, Path]) -> None:
    model = CycleGAN(tiny_config(domains, lambda_teacher=3.0))
    x, y, taught = (torch.rand(2, 3, 32, 32) * 2 - 1 for _ in range(3))
    with torch.no_grad():
        alone, *_ = model.generator_losses(model.view(x), model.view(y))
        losses, _, fake_y = model.generator_losses(model.view(x), model.view(y), teacher_y=taught)
    assert float(losses.total - alone.total) == pytest.approx(3 * float((fake_y.pixels - taught).abs().mean()), rel=1e-3)
    assert "teacher_X" not in losses.parts


@pytest.mark.parametrize("penalty", [{"objective": "wgan-gp"}, {"r1_gamma": 1.0, "r1_every": 1}])
def test_penalties_are_part_of_the_critics_loss(domains: tuple[Path, Path], penalty: dict) -> None:
    model = CycleGAN(tiny_config(domains, **penalty))
    views = [model.view(torch.rand(2, 3, 32, 32) * 2 - 1) for _ in range(4)]
    torch.manual_seed(0)
    losses = model.critic_losses(*views, r1_weight=1.0 if "r1_gamma" in penalty else 0.0)
    assert float(losses.total) > float(losses.parts["D_X"] + losses.parts["D_Y"])


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
