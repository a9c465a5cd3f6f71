"""The last steps of a translation: blend, recolour, enlarge. Pixels are uint8 (h, w, 3)."""

import numpy as np
from PIL import Image

from models.padding import Pixels


def blend(original: Pixels, translation: Pixels, strength: float) -> Pixels:
    """Mix both pictures; `strength` is 0 (the original) to 1 (the translation)."""
    if strength == 1:
        return translation
    return np.asarray(Image.blend(Image.fromarray(original), Image.fromarray(translation), strength))


def with_colors_of(original: Pixels, translation: Pixels) -> Pixels:
    """Combine the translation's lightness (Y of YCbCr) with the original's colours (Cb and Cr)."""
    lightness = Image.fromarray(translation).convert("YCbCr").getchannel("Y")
    _, blue, red = Image.fromarray(original).convert("YCbCr").split()
    return np.asarray(Image.merge("YCbCr", (lightness, blue, red)).convert("RGB"))


def enlarge(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize to `size`, (width, height), with a Lanczos filter."""
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
