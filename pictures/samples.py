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
    image_8_bits = image
    if image.mode.startswith("I") or image.mode == "F":
        image_8_bits = Image.fromarray(_reduce_channel(image, parts))
    elif image.mode in ("La", "RGBa"):
        image_8_bits = image.convert(image.mode.upper())
    elif image.mode in ("P", "PA"):
        image_8_bits = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    elif image.mode == "1":
        image_8_bits = image.convert("L")
    elif parts.grey and image.mode == "RGBA":
        image_8_bits = image.convert("LA")
    if image.format == "AVIF" and image_8_bits.mode[-1] == "A":
        image_8_bits.putalpha(image_8_bits.getchannel("A").point(_ALPHA_OF_AVIF))
    if parts.key is not None:
        image_8_bits.putalpha(_alpha_from_key(image, parts, parts.key))
    return image_8_bits


def _reduce_channel(image: Image.Image, parts: Parts) -> NDArray[np.uint8]:
    values = np.asarray(image)
    if values.dtype == np.int32 and not parts.unbounded:
        return reduce_to_8_bits(values.view(np.uint32), 32, parts.white_is_zero, False)
    bits = parts.depth if 8 < parts.depth < 16 and image.format != "HEIF" else 16  # HEIF's decoder scales to 16 bits
    return reduce_to_8_bits(values, bits, parts.white_is_zero, parts.unbounded)


def reduce_to_8_bits(values: NDArray, bits: int, white_is_zero: bool, unbounded: bool) -> NDArray[np.uint8]:
    """Reduce samples to 8 bits: integers of `bits` bits or floats, of one or several channels; `unbounded` if they are signed."""
    image_8_bits: NDArray
    if unbounded or values.dtype.kind == "f":
        image_8_bits = _scale_floats(values.astype(np.float32))
    elif bits < 8:
        image_8_bits = values.astype(np.uint16) * 255 // (2**bits - 1)
    else:
        image_8_bits = values >> values.dtype.type(bits - 8)
    return (255 - image_8_bits if white_is_zero else image_8_bits).clip(0, 255).astype(np.uint8)


def scale_to_16_bits(values: NDArray, bits: int) -> NDArray[np.uint16]:
    """Scale integers of `bits` bits, or floats from 0 to 1, to 0 to 65,535."""
    if values.dtype.kind == "f":
        return np.rint(np.nan_to_num(values.astype(np.float32)).clip(0, 1) * 65535).astype(np.uint16)
    return np.rint(np.linspace(0, 65535, 2**bits)).astype(np.uint16)[values]


def _scale_floats(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale floats to 0 to 255: from 0 to 1 if they have that range, a few highlights aside, or else from their own range."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros_like(values)
    lowest, highest = min(0.0, float(finite.min())), float(finite.max())
    if lowest >= -0.1 and np.percentile(finite, 99) <= 1:
        lowest, highest = 0.0, 1.0
    return np.rint((np.nan_to_num(values, nan=lowest).clip(lowest, highest) - lowest) * np.float32(255 / (highest - lowest or 1)))


def _alpha_from_key(image: Image.Image, parts: Parts, key: tuple[int, ...]) -> Image.Image:
    """Return an alpha channel that is 0 where the samples equal `key`."""
    values = np.asarray(image.convert("L") if image.mode == "1" else image) if parts.depth < 16 else read_16_bits(image, parts)
    scale = 255 // (2**parts.depth - 1) if parts.depth < 8 else 1  # Pillow scales 1, 2 and 4 bits
    hidden = values.reshape(*values.shape[:2], -1) == np.asarray(key) * scale
    return Image.fromarray(np.where(hidden.all(axis=-1), np.uint8(0), np.uint8(255)))


def read_16_bits(image: Image.Image, parts: Parts) -> NDArray[np.uint16]:
    """Return all bits of a 16-bit PNG.

    If there are several channels, Pillow reads only the high bytes. Reading the file again in the other byte order gives the low bytes.
    Pillow can do that except for grey with alpha.
    """
    high = np.asarray(image)
    if high.dtype != np.uint8:
        return high.astype(np.uint16)
    again = Image.open(io.BytesIO(parts.content), formats=("PNG",))
    if again.tile[0].args == "LA;16B":
        return high * np.uint16(257)
    again.tile = [tile._replace(args=f"{again.mode};16L") for tile in again.tile]
    return high[..., : len(again.mode)].astype(np.uint16) << 8 | np.asarray(again)
