"""How a picture of any size is brought to a size that a generator takes, and back."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def padded_side(side: int, multiple: int, smallest: int) -> int:
    """The next multiple of `multiple` that is no less than `side` and `smallest`."""
    return -(-max(side, smallest) // multiple) * multiple


def pad(pixels: Pixels, multiple: int, smallest: int) -> Pixels:
    """(h, w, 3) bytes mirrored at the bottom and right to sides that fit; `crop` undoes it."""
    height, width = pixels.shape[:2]
    below = padded_side(height, multiple, smallest) - height
    beside = padded_side(width, multiple, smallest) - width
    return np.pad(pixels, ((0, below), (0, beside), (0, 0)), mode="reflect") if below or beside else pixels


def crop(pixels: Pixels, height: int, width: int) -> Pixels:
    """The top left `height` × `width` of (h, w, 3) bytes."""
    return pixels[:height, :width]
