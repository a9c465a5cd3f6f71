"""Similarity of two pictures, and how steady translations of shifted pictures are."""

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import cast

import numpy as np
import torch
from torch import Tensor

from training.config import ConfigError
from training.data import Pixels, to_tensor

Translate = Callable[[Pixels], Pixels]
"""Translates (n, h, w, 3) bytes."""
Likeness = Callable[[Pixels, Pixels], float]
"""Compares two pictures of the same size, (h, w, 3) bytes each."""

SHIFTS = ((1, 1), (2, 2), (3, 3), (1, 3), (3, 1))
"""Rows and columns that pictures are shifted by, in turn."""
EDGE = 12
"""Pixels at each edge that are not compared, since the shifted picture shows something else there."""


def psnr(a: Pixels, b: Pixels) -> float:
    """Return the peak signal-to-noise ratio in dB; infinite for equal pictures."""
    error = float(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(a: Pixels, b: Pixels) -> float:
    """Return the structural similarity (Wang et al., IEEE Transactions on Image Processing 2004); 1 for equal pictures."""
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes seconds

    x, y = (torch.tensor(pixels).permute(2, 0, 1)[None].float() for pixels in (a, b))
    return float(cast(Tensor, structural_similarity_index_measure(x, y, data_range=255.0)))


def load_lpips() -> Likeness:
    """Return LPIPS with torchvision's AlexNet; 0 for equal pictures. Raises ConfigError if torchvision or the weights are missing.
    Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018."""
    if not find_spec("torchvision"):
        raise ConfigError("--lpips needs AlexNet from torchvision, which is not installed: pip install torchvision, or leave it out")
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        metric = LearnedPerceptualImagePatchSimilarity(net_type="alex")
    except (OSError, RuntimeError) as error:  # the download failed or is damaged
        raise ConfigError(f"--lpips: torchvision cannot load the weights of AlexNet ({error}): leave it out") from None

    def lpips(a: Pixels, b: Pixels) -> float:
        with torch.no_grad():
            return float(metric(to_tensor(a[None]), to_tensor(b[None])))

    return lpips


def shift_consistency(translate: Translate, sources: list[Pixels], translations: list[Pixels]) -> float:
    """Return the mean PSNR in dB between the translation of a picture shifted by 1 to 3 pixels, and the shifted translation.
    Texture that is tied to the pixel grid makes it low. At most 60, which means equality. NaN if no picture is larger than 32 pixels."""
    ratios = []
    for i, (source, translation) in enumerate(zip(sources, translations, strict=True)):
        rows, columns = SHIFTS[i % len(SHIFTS)]
        height, width = (side - 8 for side in source.shape[:2])  # a multiple of 4 if the picture's sides are
        if min(height, width) > 2 * EDGE:
            box = np.s_[rows : rows + height, columns : columns + width]
            inner = np.s_[EDGE : height - EDGE, EDGE : width - EDGE]
            ratios.append(min(60.0, psnr(translate(source[box][None])[0][inner], translation[box][inner])))
    return float(np.mean(ratios)) if ratios else math.nan
