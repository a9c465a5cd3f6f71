"""Reduce samples of any depth to 8 bits."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pictures.parts import Parts

_ALPHA_OF_AVIF = [min(max(round((value - 16) * 255 / 219), 0), 255) for value in range(256)]
"""Chromium reads soft alpha in video range, 16 (transparent) to 235 (opaque), although the standard says full range."""


def to_8_bits(image: Image.Image, parts: Parts) -> Image.Image:
    """Convert a loaded image to L, LA, RGB, RGBA, CMYK, YCbCr or LAB, which can be resized and colour-converted. A transparent colour
    becomes alpha."""
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
    bits = parts.depth if 8 < parts.depth < 16 and image.format != "HEIF" else 16  # HEIF's decoder scales to 16 bits
    return narrowed(values, bits, parts.white_is_zero, parts.unbounded)


def narrowed(values: NDArray, bits: int, white_is_zero: bool, unbounded: bool) -> NDArray[np.uint8]:
    """Reduce samples to 8 bits: integers of `bits` bits or floats, of one or several channels; `unbounded` if they are signed."""
    narrow: NDArray
    if unbounded or values.dtype.kind == "f":
        narrow = _by_range(values.astype(np.float32))
    elif bits < 8:
        narrow = values.astype(np.uint16) * 255 // (2**bits - 1)
    else:
        narrow = values >> values.dtype.type(bits - 8)
    return (255 - narrow if white_is_zero else narrow).clip(0, 255).astype(np.uint8)


def stretched(values: NDArray, bits: int) -> NDArray[np.uint16]:
    """Scale integers of `bits` bits, or floats from 0 to 1, to 0 to 65,535."""
    if values.dtype.kind == "f":
        return np.rint(np.nan_to_num(values.astype(np.float32)).clip(0, 1) * 65535).astype(np.uint16)
    return np.rint(np.linspace(0, 65535, 2**bits)).astype(np.uint16)[values]


def _by_range(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale floats to 0 to 255: from 0 to 1, like most floating-point pictures (a few highlights aside), otherwise by their own range."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros_like(values)
    lowest, highest = min(0.0, float(finite.min())), float(finite.max())
    if lowest >= -0.1 and np.percentile(finite, 99) <= 1:
        lowest, highest = 0.0, 1.0
    return np.rint((np.nan_to_num(values, nan=lowest).clip(lowest, highest) - lowest) * np.float32(255 / (highest - lowest or 1)))


def _opaque(image: Image.Image, parts: Parts, key: tuple[int, ...]) -> Image.Image:
    """Return an alpha channel that is 0 where the samples equal `key`."""
    values = np.asarray(image.convert("L") if image.mode == "1" else image) if parts.depth < 16 else sixteen_bits(image, parts)
    scale = 255 // (2**parts.depth - 1) if parts.depth < 8 else 1  # Pillow scales 1, 2 and 4 bits
    hidden = values.reshape(*values.shape[:2], -1) == np.asarray(key) * scale
    return Image.fromarray(np.where(hidden.all(axis=-1), np.uint8(0), np.uint8(255)))


def sixteen_bits(image: Image.Image, parts: Parts) -> NDArray[np.uint16]:
    """Return all bits of a 16-bit PNG. For several channels Pillow reads only the high bytes. So the file is read again in the other byte
    order, which gives the low bytes; Pillow can do that except for grey with alpha."""
    high = np.asarray(image)
    if high.dtype != np.uint8:
        return high.astype(np.uint16)
    again = Image.open(io.BytesIO(parts.content), formats=("PNG",))
    if again.tile[0].args == "LA;16B":
        return high * np.uint16(257)
    again.tile = [tile._replace(args=f"{again.mode};16L") for tile in again.tile]
    return high[..., : len(again.mode)].astype(np.uint16) << 8 | np.asarray(again)
