"""Differentiable augmentation: what a critic sees is changed at random, real pictures and translations alike, so that a
critic of few pictures does not learn them by heart, and gradients still reach the generator.

Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020; its ranges. Pictures are
(n, 3, h, w) floats in [-1, 1]; every picture of a batch is changed by itself.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional


def augment(pictures: Tensor, policy: Iterable[str]) -> Tensor:
    """`pictures` through the named changes, in order."""
    for name in policy:
        pictures = CHANGES[name](pictures)
    return pictures


def _color(pictures: Tensor) -> Tensor:
    """Brightness moved by up to ½, then saturation scaled by 0 to 2, then contrast by ½ to 1½."""
    brightness, saturation, contrast = torch.rand(3, len(pictures), 1, 1, 1, device=pictures.device)
    pictures = pictures + (brightness - 0.5)
    grey = pictures.mean(dim=1, keepdim=True)
    pictures = grey + (pictures - grey) * (saturation * 2)
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (pictures - mean) * (contrast + 0.5)


def _translation(pictures: Tensor) -> Tensor:
    """Moved by up to an eighth of its sides; what comes in is grey (0)."""
    height, width = pictures.shape[-2:]
    down, right = height // 8, width // 8
    padded = functional.pad(pictures, (right, right, down, down))
    rows = _offsets(pictures, 2 * down) + torch.arange(height, device=pictures.device)
    columns = _offsets(pictures, 2 * right) + torch.arange(width, device=pictures.device)
    picture = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cutout(pictures: Tensor) -> Tensor:
    """A rectangle of half its sides, anywhere, is grey (0)."""
    height, width = pictures.shape[-2:]
    top, left = _offsets(pictures, height) - height // 4, _offsets(pictures, width) - width // 4
    rows = torch.arange(height, device=pictures.device) - top
    columns = torch.arange(width, device=pictures.device) - left
    inside_rows, inside_columns = (rows >= 0) & (rows < height // 2), (columns >= 0) & (columns < width // 2)
    inside = inside_rows[:, :, None] & inside_columns[:, None, :]
    return pictures * ~inside[:, None]


def _offsets(pictures: Tensor, largest: int) -> Tensor:
    """(n, 1) whole numbers from 0 to `largest`."""
    return torch.randint(largest + 1, (len(pictures), 1), device=pictures.device)


CHANGES = {"color": _color, "translation": _translation, "cutout": _cutout}
