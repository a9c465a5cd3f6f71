"""JPEG XL: its size and depth, which its plugin tells only once it has decoded the picture (ISO/IEC 18181-1, D.2 and D.3), and what the
plugin does not read as it is meant."""

import importlib
import io
from collections.abc import Callable

from PIL import Image

from pictures.errors import BrokenPicture
from pictures.heif import boxes
from pictures.parts import Parts
from pictures.samples import narrowed, stretched

_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def parts(content: bytes) -> Parts:
    """Raises BrokenPicture."""
    take = _bits(_codestream(content)[2:])
    small = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = _RATIOS.get(take(3))
    width = height * ratio[0] // ratio[1] if ratio else side()
    depth = _depth(take)
    return Parts(content, size=(width, height), orientation=1, depth=depth, misread=depth != 8 or _holds_jpeg(content))


def read(parts: Parts) -> Image.Image:
    """By libjxl itself, in 8 bits: the plugin takes a JPEG out that is packed in it, which browsers decode otherwise, and cuts off samples
    of more bits, which are in `info["samples"]`, (h, w, channels) in uint16. Raises anything at all."""
    image = Image.open(io.BytesIO(parts.content), formats=["JXL"])
    samples = importlib.import_module("imagecodecs").jpegxl_decode(parts.content, index=0)
    samples = samples.reshape(*samples.shape[:2], -1)
    mode = _MODES.get(samples.shape[2])
    if mode is None:  # with channels that are no colours
        return image
    deep = parts.depth != 8
    if deep:
        samples = stretched(samples, parts.depth)
    own = Image.frombytes(mode, samples.shape[1::-1], (narrowed(samples, 16, False, False) if deep else samples).tobytes())
    own.info["icc_profile"] = image.info.get("icc_profile")
    if deep:
        own.info["samples"] = samples
    return own


def _depth(take: Callable[[int], int]) -> int:
    """Bits of a sample, behind the size; 8 where they are not told, or behind what is rare."""
    if take(1):
        return 8
    if take(1):
        take(3)  # the orientation, by which the decoder turns it
        if take(1) or take(1) or take(1):  # a size to be shown at, a preview, an animation
            return 8
    floating, which = take(1), take(2)
    return ((32, 16, 24) if floating else (8, 10, 12))[which] if which < 3 else take(6) + 1


def _bits(header: bytes) -> Callable[[int], int]:
    """Takes so many bits at a time, from the lowest; zeros behind the end."""
    number, at = int.from_bytes(header, "little"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return number >> (at - count) & ((1 << count) - 1)

    return take


def _codestream(content: bytes) -> bytes:
    """Its first bytes, out of its container where it has one."""
    if content[:2] == b"\xff\x0a":
        return content[:64]
    for kind, start, _ in boxes(content, 0, len(content)):
        if kind in (b"jxlc", b"jxlp"):
            start += 4 if kind == b"jxlp" else 0
            return content[start : start + 64]
    raise BrokenPicture("The JPEG XL ends before its pixels: send it whole.")


def _holds_jpeg(content: bytes) -> bool:
    return content[:2] != b"\xff\x0a" and any(kind == b"jbrd" for kind, *_ in boxes(content, 0, len(content)))
