"""BMP: channels of any width are made 8 bits, which decoders of all BMPs know, and the profile is found."""

import struct

import numpy as np

from pictures.parts import Parts

_FILE_HEADER, _V4, _V5 = 14, 108, 124
_RGB, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6
_EMBEDDED = b"DEBM"
_BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def parts(content: bytes) -> Parts:
    header_size = int.from_bytes(content[14:18], "little")
    if header_size < 40 or len(content) < _FILE_HEADER + max(40, min(header_size, _V5)):
        return Parts(content, orientation=1)
    profile = None
    if header_size >= _V5 and content[70:74] == _EMBEDDED:
        at, size = struct.unpack_from("<II", content, _FILE_HEADER + 112)
        profile = content[_FILE_HEADER + at : _FILE_HEADER + at + size]
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 18)
    size = (abs(width), abs(height))
    masks = _masks(content, header_size, bits, compression)
    if masks is None or width <= 0:
        return Parts(content, orientation=1, size=size, profile=profile)
    return Parts(_with_bytes(content, width, height, bits, masks), orientation=1, size=size, profile=profile)


def _masks(content: bytes, header_size: int, bits: int, compression: int) -> tuple[int, ...] | None:
    """Of red, green, blue and alpha, where the file has them."""
    if bits not in (16, 32) or len(content) < 70:
        return None
    if compression not in (_BITFIELDS, _ALPHA_BITFIELDS) and not (compression == _RGB and bits == 32 and header_size >= _V4):
        return None
    with_alpha = header_size >= 56 or compression == _ALPHA_BITFIELDS
    red, green, blue, alpha = struct.unpack_from("<4I", content, 54)
    if compression == _RGB:  # whose header's masks do not count but alpha's
        return (*_BGRA[:3], alpha)
    return red, green, blue, alpha if with_alpha else 0


def _with_bytes(content: bytes, width: int, height: int, bits: int, masks: tuple[int, ...]) -> bytes:
    """The same picture with 8 bits a channel."""
    offset, rows, stride = int.from_bytes(content[10:14], "little"), abs(height), (width * bits + 31) // 32 * 4
    data = content[offset : offset + rows * stride]
    if len(data) < rows * stride:
        return content  # cut off, as its decoder will find
    values = np.frombuffer(data, f"<u{bits // 8}").reshape(rows, -1)[:, :width]
    pixels = np.full((rows, width, 4), 255, np.uint8)
    for channel, mask in zip((2, 1, 0, 3), masks, strict=True):
        if mask:
            low = mask & -mask
            pixels[..., channel] = ((values & np.uint32(mask)) // np.uint32(low)) * (255 / (mask // low)) + 0.5
        elif channel != 3:
            pixels[..., channel] = 0
    header = struct.pack("<IiiHHII16x4I", _V4, width, height, 1, 32, _BITFIELDS, 0, *_BGRA).ljust(_V4, b"\0")
    start = _FILE_HEADER + len(header)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, start) + header + pixels.tobytes()
