"""GIF: make the first frame a picture of its own, with its position on the canvas."""

import struct

from pictures.errors import BrokenPicture
from pictures.parts import Parts

MAX_BLOCKS = 100_000
"""Blocks before the first frame."""


def examine(content: bytes) -> Parts:
    """Return the first frame as a GIF of its own. Raises BrokenPicture."""
    if len(content) < 13:
        raise BrokenPicture("The GIF ends before its first frame: send it whole.")
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    colours = content[13 : 13 + _table_size(flags)]
    control, at, blocks = b"", 13 + _table_size(flags), 0
    while content[at : at + 1] not in (b",", b";", b""):
        blocks += 1
        if content[at : at + 1] != b"!":
            at += 1
        else:
            start, at = at, at + 2
            while at < len(content) and content[at] and blocks < MAX_BLOCKS:
                at += content[at] + 1
                blocks += 1
            at += 1
            if content[start + 1 : start + 2] == b"\xf9":
                control = content[start:at]
        if blocks >= MAX_BLOCKS:
            raise BrokenPicture(f"The GIF has more than {MAX_BLOCKS:,} blocks before its first frame: save it again, without metadata.")
    if content[at : at + 1] != b"," or at + 10 > len(content):
        raise BrokenPicture("The GIF ends before its first frame: send it whole.")
    left, top, frame_width, frame_height = struct.unpack_from("<4H", content, at + 1)
    width, height = max(width, left + frame_width), max(height, top + frame_height)  # as browsers do
    head = content[:6] + struct.pack("<HH", frame_width, frame_height) + content[10:13] + colours + control
    still = head + b",\0\0\0\0" + content[at + 5 :]
    return Parts(still, canvas=(width, height, left, top), orientation=1)


def _table_size(flags: int) -> int:
    """Return the size of a colour table, in bytes."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
