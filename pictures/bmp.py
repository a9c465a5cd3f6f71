"""BMP: convert channels of any width to 8 bits, read runs and 2-bit pixels as browsers do, and find the profile."""

import struct

import numpy as np
from PIL import Image

from pictures.errors import BrokenPicture
from pictures.parts import Parts

_FILE_HEADER, _V4, _V5 = 14, 108, 124
_RGB, _RUNS_OF_8, _RUNS_OF_4, _BITFIELDS, _ALPHA_BITFIELDS = 0, 1, 2, 3, 6
_BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def examine(content: bytes) -> Parts:
    content = _normalize_header(content)
    header_size = int.from_bytes(content[14:18], "little")
    if header_size < 40 or len(content) < _FILE_HEADER + max(40, min(header_size, _V5)):
        return Parts(content, orientation=1)
    profile = None
    if header_size >= _V5 and content[70:74] == b"DEBM":  # an embedded profile
        at, size = struct.unpack_from("<II", content, _FILE_HEADER + 112)
        profile = content[_FILE_HEADER + at : _FILE_HEADER + at + size]
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 18)
    size = (abs(width), abs(height))
    if (bits, compression) in ((8, _RUNS_OF_8), (4, _RUNS_OF_4), (2, _RGB)) and width > 0:
        return Parts(content, orientation=1, size=size, profile=profile, misread=True)
    masks = _masks(content, header_size, bits, compression)
    if masks is None or width <= 0:
        return Parts(content, orientation=1, size=size, profile=profile)
    return Parts(_convert_to_8_bits(content, width, height, bits, masks), orientation=1, size=size, profile=profile)


def _normalize_header(content: bytes) -> bytes:
    """Extend a short header of OS/2, which omits trailing zeros, to 40 bytes, and correct a palette size that is too large."""
    header_size = int.from_bytes(content[14:18], "little")
    if 16 <= header_size < 40:
        offset = int.from_bytes(content[10:14], "little") + 40 - header_size
        header = content[18 : _FILE_HEADER + header_size].ljust(36, b"\0")
        content = content[:10] + struct.pack("<II", offset, 40) + header + content[_FILE_HEADER + header_size :]
    bits, used = int.from_bytes(content[28:30], "little"), int.from_bytes(content[46:50], "little")
    return content[:46] + bytes(4) + content[50:] if header_size >= 16 and bits <= 8 and used > 2**bits else content


def read(parts: Parts) -> Image.Image:
    """Read a BMP of runs (RLE8, RLE4) or 2 bits as RGB. Raises BrokenPicture.

    As in browsers, pixels are black if no run sets them or the palette has no entry for them.
    """
    content = parts.content
    offset, header_size, width, height, bits = struct.unpack_from("<IIii2xH", content, 10)
    start = _FILE_HEADER + header_size
    used = min(int.from_bytes(content[46:50], "little") or 256, 2**bits)
    palette = [content[at : at + 3][::-1].ljust(3, b"\0") for at in range(start, start + 4 * used, 4)] + [bytes(3)] * 256
    pixels_by_byte = [b"".join(palette[byte >> shift & (2**bits - 1)] for shift in range(8 - bits, -1, -bits)) for byte in range(256)]
    pixels = (_decode_rows if bits == 2 else _decode_runs)(content[offset:], width, abs(height), bits, pixels_by_byte)
    image = Image.frombytes("RGB", (width, abs(height)), pixels)
    return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if height > 0 else image


def _decode_rows(data: bytes, width: int, rows: int, bits: int, pixels_by_byte: list[bytes]) -> bytes:
    """Decode uncompressed rows; `pixels_by_byte` has the RGB pixels of each byte value. Raises BrokenPicture."""
    stride = (bits * width + 31) // 32 * 4
    if len(data) < rows * stride:
        raise BrokenPicture("The BMP ends before its last row: send it whole.")
    starts = range(0, rows * stride, stride)
    return b"".join(b"".join(pixels_by_byte[byte] for byte in data[start : start + stride])[: 3 * width] for start in starts)


def _decode_runs(data: bytes, width: int, rows: int, bits: int, pixels_by_byte: list[bytes]) -> bytes:
    """Decode runs (Microsoft's documentation of BITMAPINFOHEADER). Runs are cut off at the end of their row. Raises BrokenPicture."""
    stride, at = 3 * width, 0
    pixels, row = bytearray(), bytearray()
    while len(pixels) < stride * rows:
        if at + 2 > len(data):
            raise BrokenPicture("The BMP ends before its last row: send it whole.")
        count, code = data[at], data[at + 1]
        at += 2
        if count:
            if len(row) < stride:
                row += (pixels_by_byte[code] * count)[: 3 * count]
        elif code == 0:
            pixels += row[:stride].ljust(stride, b"\0")
            row.clear()
        elif code == 1:
            pixels += row[:stride]
            break
        elif code == 2:
            right, up = data[at : at + 2].ljust(2, b"\0")
            at += 2
            if up:
                start = min(len(row), stride)
                pixels += row[:stride].ljust(stride * up, b"\0")
                row = bytearray(start)
            if len(row) < stride:
                row += bytes(3 * right)
        else:
            size = (bits * code + 7) // 8
            if len(row) < stride:
                row += b"".join(pixels_by_byte[byte] for byte in data[at : at + size])[: 3 * code]
            at += size + size % 2
    return bytes(pixels[: stride * rows]).ljust(stride * rows, b"\0")


def _masks(content: bytes, header_size: int, bits: int, compression: int) -> tuple[int, ...] | None:
    """Return the bit masks of red, green, blue and alpha; None if the file has none."""
    if bits not in (16, 32) or len(content) < 70:
        return None
    if compression not in (_BITFIELDS, _ALPHA_BITFIELDS) and not (compression == _RGB and bits == 32 and header_size >= _V4):
        return None
    with_alpha = header_size >= 56 or compression == _ALPHA_BITFIELDS
    red, green, blue, alpha = struct.unpack_from("<4I", content, 54)
    if compression == _RGB:  # only the alpha mask counts
        return (*_BGRA[:3], alpha)
    return red, green, blue, alpha if with_alpha else 0


def _convert_to_8_bits(content: bytes, width: int, height: int, bits: int, masks: tuple[int, ...]) -> bytes:
    """Return the same picture as a BMP with 8 bits per channel."""
    offset, rows, stride = int.from_bytes(content[10:14], "little"), abs(height), (width * bits + 31) // 32 * 4
    data = content[offset : offset + rows * stride]
    if len(data) < rows * stride:
        return content  # truncated: the decoder will report it
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
