"""JPEG XL: read size and depth without decoding (ISO/IEC 18181-1, D.2 and D.3), which the plugin cannot; remove a packed JPEG; read
samples of more than 8 bits and the first frame of an animation."""

import importlib
import io
from collections.abc import Callable

from PIL import Image

from pictures.errors import BrokenPicture
from pictures.heif import boxes
from pictures.orientation import upright_size
from pictures.parts import Parts
from pictures.samples import narrowed, stretched

_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_TIMES = (0, 0, 10, 30), (0, 0, 8, 10), (0, 3, 16, 32)
"""Bit widths of an animation's fields (ticks per second, their divisor, number of loops), by the two bits before each."""
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def parts(content: bytes) -> Parts:
    """Raises BrokenPicture."""
    take = _bits(_codestream(content)[2:])
    width, height = _size(take)
    turned, animated, depth = _described(take)
    size = upright_size(width, height, turned)
    return Parts(_without_jpeg(content), size=size, orientation=1, depth=depth, misread=depth != 8 or animated)


def read(parts: Parts) -> Image.Image:
    """Decode to 8 bits with libjxl. The plugin would return an animation's last frame, and cut off samples of more than 8 bits.

    Deep samples are in `info["samples"]`, uint16 (h, w, channels). Raises any exception of the decoder.
    """
    image = Image.open(io.BytesIO(parts.content), formats=["JXL"])
    samples = importlib.import_module("imagecodecs").jpegxl_decode(parts.content, index=0)
    samples = samples.reshape(*samples.shape[:2], -1)
    mode = _MODES.get(samples.shape[2])
    if mode is None:  # it has extra channels
        return image
    narrow = samples
    if parts.depth != 8:
        image.info["samples"] = samples = stretched(samples, parts.depth)
        narrow = narrowed(samples, 16, False, False)
    own = Image.frombytes(mode, samples.shape[1::-1], narrow.tobytes())
    own.info = image.info
    return own


def _size(take: Callable[[int], int]) -> tuple[int, int]:
    small = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = _RATIOS.get(take(3))
    return height * ratio[0] // ratio[1] if ratio else side(), height


def _described(take: Callable[[int], int]) -> tuple[int, bool, int]:
    """Read what follows the size: orientation (the decoder applies it), whether it is an animation, and bits per sample: 8 if they are not
    stated, or come after a preview, which is rare."""
    turned, animated = 1, False
    if take(1):
        return turned, animated, 8
    if take(1):
        turned = take(3) + 1
        if take(1):  # the intrinsic size
            _size(take)
        if take(1):
            return turned, animated, 8
        animated = bool(take(1))
        if animated:
            for widths in _TIMES:
                take(widths[take(2)])
            take(1)
    floating, which = take(1), take(2)
    return turned, animated, ((32, 16, 24) if floating else (8, 10, 12))[which] if which < 3 else take(6) + 1


def _bits(header: bytes) -> Callable[[int], int]:
    """Return a function that reads the next bits, lowest first; zeros after the end."""
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
