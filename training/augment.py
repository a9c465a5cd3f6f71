"""Differentiable augmentation: random changes to the critics' input, so that a critic does not memorize a small data set.

Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020, with its ranges. Real pictures and translations
are changed alike, and gradients still reach the generator. Pictures are (n, 3, h, w) floats in [-1, 1]; each is changed on its own.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional


def augment(pictures: Tensor, policy: Iterable[str]) -> Tensor:
    """Apply the named changes in order."""
    for name in policy:
        pictures = CHANGES[name](pictures)
    return pictures


def _color(pictures: Tensor) -> Tensor:
    """Shift brightness by up to ½, then scale saturation by 0 to 2, then contrast by ½ to 1½."""
    brightness, saturation, contrast = torch.rand(3, len(pictures), 1, 1, 1, device=pictures.device)
    pictures = pictures + (brightness - 0.5)
    gray = pictures.mean(dim=1, keepdim=True)
    pictures = gray + (pictures - gray) * (saturation * 2)
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (pictures - mean) * (contrast + 0.5)


def _translation(pictures: Tensor) -> Tensor:
    """Move by up to an eighth of the sides; the uncovered part is gray (0)."""
    height, width = pictures.shape[-2:]
    down, right = height // 8, width // 8
    padded = functional.pad(pictures, (right, right, down, down))
    rows = _offsets(pictures, 2 * down) + torch.arange(height, device=pictures.device)
    columns = _offsets(pictures, 2 * right) + torch.arange(width, device=pictures.device)
    picture = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cutout(pictures: Tensor) -> Tensor:
    """Make a rectangle of half the sides gray (0)."""
    height, width = pictures.shape[-2:]
    top, left = _offsets(pictures, height) - height // 4, _offsets(pictures, width) - width // 4
    rows = torch.arange(height, device=pictures.device) - top
    columns = torch.arange(width, device=pictures.device) - left
    inside_rows, inside_columns = (rows >= 0) & (rows < height // 2), (columns >= 0) & (columns < width // 2)
    return pictures * ~(inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]


def _offsets(pictures: Tensor, largest: int) -> Tensor:
    """Return (n, 1) random integers from 0 to `largest`."""
    return torch.randint(largest + 1, (len(pictures), 1), device=pictures.device)


CHANGES = {"color": _color, "translation": _translation, "cutout": _cutout}
