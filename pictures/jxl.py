"""JPEG XL: read size and depth without decoding, which the plugin cannot do (ISO/IEC 18181-1, D.2 and D.3).

This module also removes an embedded JPEG, and reads samples of more than 8 bits and the first frame of an animation.
"""

import importlib
import io
from collections.abc import Callable

from PIL import Image

from pictures.errors import BrokenPicture
from pictures.heif import boxes
from pictures.orientation import upright_size
from pictures.parts import Parts
from pictures.samples import reduce_to_8_bits, scale_to_16_bits

_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_TIMES = (0, 0, 10, 30), (0, 0, 8, 10), (0, 3, 16, 32)
"""Bit widths of an animation's fields (ticks per second, their divisor, number of loops), by the two bits before each."""
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def examine(content: bytes) -> Parts:
    """Return the file without an embedded JPEG, and its size and depth. Raises BrokenPicture."""
    take = _bit_reader(_codestream(content)[2:])
    width, height = _read_size(take)
    orientation, animated, depth = _read_metadata(take)
    size = upright_size(width, height, orientation)
    return Parts(_without_jpeg(content), size=size, orientation=1, depth=depth, misread=depth != 8 or animated)


def read(parts: Parts) -> Image.Image:
    """Decode to 8 bits with libjxl. The plugin would return an animation's last frame, and cut off samples of more than 8 bits.

    Deep samples are in `info["samples"]`, uint16 (h, w, channels). Passes on the decoder's exceptions.
    """
    image = Image.open(io.BytesIO(parts.content), formats=["JXL"])
    samples = importlib.import_module("imagecodecs").jpegxl_decode(parts.content, index=0)
    samples = samples.reshape(*samples.shape[:2], -1)
    mode = _MODES.get(samples.shape[2])
    if mode is None:  # it has extra channels
        return image
    image_8_bits = samples
    if parts.depth != 8:
        image.info["samples"] = samples = scale_to_16_bits(samples, parts.depth)
        image_8_bits = reduce_to_8_bits(samples, 16, False, False)
    image_8_bits = Image.frombytes(mode, samples.shape[1::-1], image_8_bits.tobytes())
    image_8_bits.info = image.info
    return image_8_bits


def _read_size(take: Callable[[int], int]) -> tuple[int, int]:
    small = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = _RATIOS.get(take(3))
    return height * ratio[0] // ratio[1] if ratio else side(), height


def _read_metadata(take: Callable[[int], int]) -> tuple[int, bool, int]:
    """Read the fields after the size: orientation (the decoder applies it), whether it is an animation, and bits per sample.

    Bits per sample are 8 if the file does not state them, or if they follow a preview, which is rare.
    """
    orientation, animated = 1, False
    if take(1):
        return orientation, animated, 8
    if take(1):
        orientation = take(3) + 1
        if take(1):  # the intrinsic size
            _read_size(take)
        if take(1):
            return orientation, animated, 8
        animated = bool(take(1))
        if animated:
            for widths in _TIMES:
                take(widths[take(2)])
            take(1)
    floating, which = take(1), take(2)
    return orientation, animated, ((32, 16, 24) if floating else (8, 10, 12))[which] if which < 3 else take(6) + 1


def _bit_reader(header: bytes) -> Callable[[int], int]:
    """Return a function that reads the next bits, lowest first, and zeros after the end."""
    number, at = int.from_bytes(header, "little"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return number >> (at - count) & ((1 << count) - 1)

    return take


def _codestream(content: bytes) -> bytes:
    """Return the first bytes of the codestream, from its container if there is one."""
    if content[:2] == b"\xff\x0a":
        return content[:64]
    for kind, start, _ in boxes(content, 0, len(content)):
        if kind in (b"jxlc", b"jxlp"):
            start += 4 if kind == b"jxlp" else 0
            return content[start : start + 64]
    raise BrokenPicture("The JPEG XL ends before its pixels: send it whole.")


def _without_jpeg(content: bytes) -> bytes:
    """Remove the data for reconstructing a JPEG: the decoder would decode that JPEG instead, which browsers do not."""
    if content[:2] == b"\xff\x0a":
        return content
    kept, at = [], 0
    for kind, _, end in boxes(content, 0, len(content)):
        if kind != b"jbrd":
            kept.append(content[at:end])
        at = end
    return b"".join(kept)
