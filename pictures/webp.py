"""WebP: read size and orientation from the chunks, and make the first frame of an animation a picture of its own."""

import struct

from pictures import tags
from pictures.errors import BrokenPicture
from pictures.parts import Parts

MAX_CHUNKS = 100_000
_ALPHA, _PROFILE = 0x10, 0x20
_FRAME_HEADER = 16


def examine(content: bytes) -> Parts:
    """Return the picture, or an animation's first frame, with size and orientation. Raises BrokenPicture if there are too many chunks."""
    chunks: dict[bytes, bytes] = {}
    at = 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(content):
            return _parts_from_chunks(content, chunks)
        kind, length = struct.unpack_from("<4sI", content, at)
        if kind in (b"VP8X", b"ICCP", b"ANMF", b"EXIF"):
            chunks.setdefault(kind, content[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    raise BrokenPicture(f"The WebP has more than {MAX_CHUNKS:,} chunks, made to keep decoders busy: save it again.")


def _parts_from_chunks(content: bytes, chunks: dict[bytes, bytes]) -> Parts:
    orientation = tags.orientation(chunks.get(b"EXIF", b"").removeprefix(b"Exif\0\0"))
    header, frame = chunks.get(b"VP8X", b""), chunks.get(b"ANMF", b"")
    if len(header) < 10:
        return Parts(content, orientation=orientation)
    size = _number(header[4:7]) + 1, _number(header[7:10]) + 1
    if len(frame) <= _FRAME_HEADER:
        return Parts(content, size=size, orientation=orientation)
    return Parts(
        _single_frame(frame),
        size=size,
        canvas=(*size, 2 * _number(frame[:3]), 2 * _number(frame[3:6])),
        orientation=orientation,
        profile=chunks.get(b"ICCP") if header[0] & _PROFILE else None,
    )


def _single_frame(frame: bytes) -> bytes:
    """Return a WebP of one frame of an animation."""
    extended = struct.pack("<4sII", b"VP8X", 10, _ALPHA) + frame[6:12]
    body = b"WEBP" + extended + frame[_FRAME_HEADER:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _number(little_endian: bytes) -> int:
    return int.from_bytes(little_endian, "little")
