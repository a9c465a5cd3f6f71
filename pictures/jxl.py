"""JPEG XL: its size, which its plugin tells only once it has decoded the picture (ISO/IEC 18181-1, D.2)."""

from pictures.errors import BrokenPicture
from pictures.heif import boxes
from pictures.parts import Parts

_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def parts(content: bytes) -> Parts:
    """Raises BrokenPicture."""
    header = int.from_bytes(_codestream(content)[2:18].ljust(16, b"\0"), "little")
    at = 0

    def take(bits: int) -> int:
        nonlocal at
        at += bits
        return header >> (at - bits) & ((1 << bits) - 1)

    small = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = _RATIOS.get(take(3))
    width = height * ratio[0] // ratio[1] if ratio else side()
    plain = take(1)
    orientation = 1 if plain or not take(1) else take(3) + 1
    return Parts(content, size=(width, height), orientation=orientation if _holds_jpeg(content) else 1)


def _codestream(content: bytes) -> bytes:
    """From its first byte on, out of its container where it has one."""
    if content[:2] == b"\xff\x0a":
        return content[:64]
    for kind, start, _ in boxes(content, 0, len(content)):
        if kind in (b"jxlc", b"jxlp"):
            start += 4 if kind == b"jxlp" else 0
            return content[start : start + 64]
    raise BrokenPicture("The JPEG XL ends before its pixels: send it whole.")


def _holds_jpeg(content: bytes) -> bool:
    """Whether it is a JPEG, packed, which its plugin unpacks and does not turn upright."""
    return content[:2] != b"\xff\x0a" and any(kind == b"jbrd" for kind, *_ in boxes(content, 0, len(content)))
