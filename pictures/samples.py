"""Samples of every depth to 8 bits."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pictures.parts import Parts

_ALPHA_OF_AVIF = [min(max(round((value - 16) * 255 / 219), 0), 255) for value in range(256)]
"""Transparent up to 16 and opaque from 235 on, as in video: Chromium takes it so, although the standard has the whole range."""


def to_8_bits(image: Image.Image, parts: Parts) -> Image.Image:
    """A loaded image in a mode that can be resized and whose colours can be converted: L, RGB, CMYK, YCbCr or LAB, L and RGB also with
    alpha. The colour that is transparent has become alpha."""
    narrow = image
    if image.mode.startswith("I") or image.mode == "F":
        narrow = Image.fromarray(_one_channel(image, parts))
    elif image.mode in ("La", "RGBa"):
        narrow = image.convert(image.mode.upper())
    elif image.mode in ("P", "PA"):
        narrow = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    elif image.mode == "1":
        narrow = image.convert("L")
    elif parts.grey and image.mode == "RGBA":
        narrow = image.convert("LA")
    if image.format == "AVIF" and narrow.mode[-1] == "A":
        narrow.putalpha(narrow.getchannel("A").point(_ALPHA_OF_AVIF))
    if parts.key is not None:
        narrow.putalpha(_opaque(image, parts, parts.key))
    return narrow


def _one_channel(image: Image.Image, parts: Parts) -> NDArray[np.uint8]:
    values = np.asarray(image)
    if values.dtype == np.int32 and not parts.unbounded:
        return narrowed(values.view(np.uint32), 32, parts.white_is_zero, False)
    bits = parts.depth if 8 < parts.depth < 16 and image.format != "HEIF" else 16  # whose decoder fills them up
    return narrowed(values, bits, parts.white_is_zero, parts.unbounded)


def narrowed(values: NDArray, bits: int, white_is_zero: bool, unbounded: bool) -> NDArray[np.uint8]:
    """Samples of one channel or of several: whole numbers of `bits` bits, or floating-point numbers; `unbounded`: signed."""
    narrow: NDArray
    if unbounded or values.dtype.kind == "f":
        narrow = _by_range(values.astype(np.float32))
    elif bits < 8:
        narrow = values.astype(np.uint16) * 255 // (2**bits - 1)
    else:
        narrow = values >> values.dtype.type(bits - 8)
    return (255 - narrow if white_is_zero else narrow).clip(0, 255).astype(np.uint8)


def stretched(values: NDArray, bits: int) -> NDArray[np.uint16]:
    """Whole numbers of `bits` bits, or floating-point numbers from 0 to 1, to 0 to 65,535."""
    if values.dtype.kind == "f":
        return np.rint(np.nan_to_num(values.astype(np.float32)).clip(0, 1) * 65535).astype(np.uint16)
    return np.rint(np.linspace(0, 65535, 2**bits)).astype(np.uint16)[values]


def _by_range(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """From 0 to 1, as most floating-point pictures are, a highlight or two aside; others from their lowest (or 0) to their highest."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros_like(values)
    lowest, highest = min(0.0, float(finite.min())), float(finite.max())
    if lowest >= -0.1 and np.percentile(finite, 99) <= 1:
        lowest, highest = 0.0, 1.0
    return np.rint((np.nan_to_num(values, nan=lowest).clip(lowest, highest) - lowest) * np.float32(255 / (highest - lowest or 1)))


def _opaque(image: Image.Image, parts: Parts, key: tuple[int, ...]) -> Image.Image:
    """Alpha: 0 where the samples are those of `key`."""
    values = np.asarray(image.convert("L") if image.mode == "1" else image) if parts.depth < 16 else sixteen_bits(image, parts)
    scale = 255 // (2**parts.depth - 1) if parts.depth < 8 else 1  # as Pillow reads 1, 2 and 4 bits
    hidden = values.reshape(*values.shape[:2], -1) == np.asarray(key) * scale
    return Image.fromarray(np.where(hidden.all(axis=-1), np.uint8(0), np.uint8(255)))


def sixteen_bits(image: Image.Image, parts: Parts) -> NDArray[np.uint16]:
    """All of the samples of a PNG of 16 bits. Of several channels Pillow reads the high bytes: it reads the file once more as if the bytes
    were in the other order, which it knows of all but grey with alpha."""
    high = np.asarray(image)
    if high.dtype != np.uint8:
        return high.astype(np.uint16)
    again = Image.open(io.BytesIO(parts.content), formats=("PNG",))
    if again.tile[0].args == "LA;16B":
        return high * np.uint16(257)
    again.tile = [tile._replace(args=f"{again.mode};16L") for tile in again.tile]
    return high[..., : len(again.mode)].astype(np.uint16) << 8 | np.asarray(again)
