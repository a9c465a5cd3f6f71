"""What a direction is judged by. Pictures are lists of (h, w, 3) bytes."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.data import Pixels, to_tensor

SIZE = 256
LEVELS = 5
"""Laplacian levels: 256, 128, 64, 32 and 16 pixels."""
PATCH = 7
PATCHES_PER_PICTURE = 128
PROJECTIONS = 512

Translate = Callable[[Pixels], Pixels]
"""(n, h, w, 3) bytes to the same."""


def sliced_wasserstein(a: list[Pixels], b: list[Pixels], seed: int = 0) -> float:
    """Distance × 10³ between the 7×7 patches of two sets of pictures, the mean over five Laplacian levels.

    Karras et al., "Progressive Growing of GANs", ICLR 2018, section 5: needs no pretrained network. Lower is nearer.
    The same pictures and seed always give the same figure; the sets may be of any two sizes.
    """
    random = torch.Generator().manual_seed(seed)
    distances = [
        _distance(patches_a, patches_b, random) for patches_a, patches_b in zip(_patches(a, random), _patches(b, random), strict=True)
    ]
    return 1000 * sum(distances) / len(distances)


def _patches(pictures: list[Pixels], random: torch.Generator) -> list[Tensor]:
    """Normalised patches of every Laplacian level, (n, 3 · 7 · 7) each."""
    square = torch.cat([_square(to_tensor(pixels[None])) for pixels in pictures])
    levels = []
    for level in range(LEVELS):
        smaller = functional.interpolate(square, scale_factor=0.5, mode="area") if level < LEVELS - 1 else None
        laplacian = square
        if smaller is not None:
            laplacian = square - functional.interpolate(smaller, size=square.shape[-2:], mode="bilinear")
        levels.append(_normalised_patches(laplacian, random))
        square = smaller if smaller is not None else square
    return levels


def _square(picture: Tensor) -> Tensor:
    """The middle square of (1, 3, h, w), scaled to SIZE."""
    height, width = picture.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = picture[..., top : top + side, left : left + side]
    return functional.interpolate(middle, size=(SIZE, SIZE), mode="bilinear", antialias=True)


def _normalised_patches(pictures: Tensor, random: torch.Generator) -> Tensor:
    count, _, height, width = pictures.shape
    windows = pictures.unfold(2, PATCH, 1).unfold(3, PATCH, 1)
    rows = torch.randint(height - PATCH + 1, (count, PATCHES_PER_PICTURE), generator=random)
    columns = torch.randint(width - PATCH + 1, (count, PATCHES_PER_PICTURE), generator=random)
    patches = windows[torch.arange(count)[:, None], :, rows, columns].flatten(0, 1)
    mean, std = patches.mean(dim=(0, 2, 3), keepdim=True), patches.std(dim=(0, 2, 3), keepdim=True)
    return ((patches - mean) / std.clamp_min(1e-8)).flatten(1)


def _distance(a: Tensor, b: Tensor, random: torch.Generator) -> float:
    """The mean over random directions of the one-dimensional Wasserstein distance, at as many quantiles as fit both."""
    directions = functional.normalize(torch.randn(a.shape[1], PROJECTIONS, generator=random), dim=0)
    quantiles = torch.linspace(0, 1, min(len(a), len(b)))
    projected = [torch.sort(patches @ directions, dim=0).values for patches in (a, b)]
    at = [values[(quantiles * (len(values) - 1)).round().long()] for values in projected]
    return float((at[0] - at[1]).abs().mean())


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures."""
    error = float(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def judge(there: Translate, back: Translate, source: list[Pixels], target: list[Pixels], target_train: list[Pixels]) -> dict[str, float]:
    """The figures of one direction, from the test pictures of its domains and the training pictures of its target.

    swd: translations against the target; swd_floor: the target's own training pictures against it;
    swd_base: untranslated sources against it; cycle_psnr: dB between a source and itself there and back.
    """
    translations = [there(pixels[None])[0] for pixels in source]
    returned = [back(pixels[None])[0] for pixels in translations]
    figures = {
        "swd": sliced_wasserstein(translations, target),
        "swd_floor": sliced_wasserstein(target_train, target),
        "swd_base": sliced_wasserstein(source, target),
        "cycle_psnr": float(np.mean([psnr(*pair) for pair in zip(source, returned, strict=True)])),
    }
    return {name: round(figure, 2) for name, figure in figures.items()}
