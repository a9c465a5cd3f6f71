"""What the critics see is changed, picture by picture, and still teaches the generator."""

import pytest
import torch

from training.augment import augment

POLICIES = ["color", "translation", "cutout"]


def pictures(count: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("policy", POLICIES)
def test_each_picture_is_changed_in_its_own_way_and_gradients_pass(policy: str) -> None:
    same = pictures(1).repeat(8, 1, 1, 1).requires_grad_()
    changed = augment(same, [policy])
    assert changed.shape == same.shape
    assert len({tuple(picture.flatten().tolist()) for picture in changed}) > 1
    (gradients,) = torch.autograd.grad(changed.sum(), same)
    assert (gradients != 0).any(dim=(1, 2, 3)).all()


def test_nothing_is_changed_unless_asked_for() -> None:
    assert augment(same := pictures(), ()) is same


def test_brightness_moves_the_mean_by_half_at_most() -> None:
    moved = augment(pictures(), ["color"]).mean(dim=(1, 2, 3)) - pictures().mean(dim=(1, 2, 3))
    assert moved.abs().max() <= 0.5
    assert moved.std() > 0.2


def test_a_translation_moves_by_an_eighth_at_most_and_keeps_the_rest() -> None:
    before = torch.zeros(64, 3, 32, 32)
    before[:, :, 16, 16] = 1
    _, _, rows, columns = augment(before, ["translation"]).nonzero(as_tuple=True)
    assert (rows.min(), rows.max()) == (12, 20)
    assert (columns.min(), columns.max()) == (12, 20)


def test_a_cutout_is_half_as_wide_and_high_as_the_picture_at_most() -> None:
    cut = (augment(torch.ones(64, 3, 32, 32), ["cutout"])[:, 0] == 0).sum(dim=(1, 2))
    assert cut.max() == 16 * 16
    assert cut.min() >= 8 * 8
