"""How alike two pictures are, pixel by pixel, and how a translation bears a picture that is moved."""

import math
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from training.data import Pixels

Translate = Callable[[Pixels], Pixels]
"""(n, h, w, 3) bytes to the same."""

SHIFTS = ((1, 1), (2, 2), (3, 3), (1, 3), (3, 1))
"""Rows and columns that pictures are moved by, in turn."""
EDGE = 12
"""Pixels at each edge that are not compared: there a moved picture shows something else."""


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures."""
    error = float(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(a: Pixels, b: Pixels) -> float:
    """Structural similarity (Wang et al., IEEE Transactions on Image Processing 2004); 1 for equal pictures."""
    x, y = (torch.tensor(pixels).permute(2, 0, 1)[None].float() for pixels in (a, b))
    return float(cast(Tensor, structural_similarity_index_measure(x, y, data_range=255.0)))


def shift_consistency(translate: Translate, sources: list[Pixels], translations: list[Pixels]) -> float:
    """Mean PSNR in dB between the translation of a picture moved by 1 to 3 pixels, and its translation, moved.

    It is low where texture is locked to a grid of pixels. At most 60, which stands for equality. NaN where no
    picture is large enough: above 32 pixels a side.
    """
    ratios = []
    for i, (source, translation) in enumerate(zip(sources, translations, strict=True)):
        rows, columns = SHIFTS[i % len(SHIFTS)]
        height, width = (side - 8 for side in source.shape[:2])  # a multiple of 4 where the picture's sides are
        if min(height, width) > 2 * EDGE:
            box = np.s_[rows : rows + height, columns : columns + width]
            inner = np.s_[EDGE : height - EDGE, EDGE : width - EDGE]
            ratios.append(min(60.0, psnr(translate(source[box][None])[0][inner], translation[box][inner])))
    return float(np.mean(ratios)) if ratios else math.nan
