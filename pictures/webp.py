"""WebP: its size and its orientation, from its chunks."""

import struct

from pictures import tags
from pictures.errors import BrokenPicture
from pictures.parts import Parts

MAX_CHUNKS = 100_000


def parts(content: bytes) -> Parts:
    """Raises BrokenPicture where it is made to keep a decoder busy."""
    size, exif, at = None, b"", 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(content):
            return Parts(content, size=size, orientation=tags.orientation(exif.removeprefix(b"Exif\0\0")))
        kind, length = struct.unpack_from("<4sI", content, at)
        body = content[at + 8 : at + 8 + (10 if kind != b"EXIF" else length)]
        if kind == b"VP8X" and len(body) == 10:  # an animation's decoder takes memory for it at once
            size = (int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1)
        elif kind == b"EXIF":
            exif = exif or body
        at += 8 + length + length % 2
    raise BrokenPicture(f"The WebP has more than {MAX_CHUNKS:,} chunks, made to keep decoders busy: save it anew.")
