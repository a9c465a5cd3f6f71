"""Pad pictures of any size to a size that a generator accepts, and crop the result."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def padded_side(side: int, multiple: int, smallest: int) -> int:
    """Return the smallest multiple of `multiple` that is at least `side` and `smallest`."""
    return -(-max(side, smallest) // multiple) * multiple


def pad(pixels: Pixels, multiple: int, smallest: int) -> Pixels:
    """Pad uint8 (h, w, 3) at the bottom and right by reflection; `crop` undoes it."""
    height, width = pixels.shape[:2]
    bottom = padded_side(height, multiple, smallest) - height
    right = padded_side(width, multiple, smallest) - width
    return np.pad(pixels, ((0, bottom), (0, right), (0, 0)), mode="reflect") if bottom or right else pixels


def crop(pixels: Pixels, height: int, width: int) -> Pixels:
    """Return the top left `height` × `width` of uint8 (h, w, 3)."""
    return pixels[:height, :width]
