"""TIFF directories, which Exif uses too. They are read lazily, so that false lengths in a file do no harm."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pictures.errors import BrokenPicture

MAX_DIRECTORIES = 64
"""Directories that are read in a file; further ones are ignored."""
MAX_TAGS = 4096
"""Tags in a directory; one with more is treated as invalid."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}


@dataclass(frozen=True)
class Directory:
    """One directory (IFD)."""

    content: bytes
    order: str
    """Byte order, as in struct: `<` or `>`."""
    entries: dict[int, tuple[int, int, int]]
    """Type, count and offset of the values, by tag."""
    following: int
    """Offset of the next directory; 0 if there is none."""

    def numbers(self, tag: int, most: int = 64) -> tuple[int, ...]:
        """Return the first integers of a tag; empty if it is missing or has no integers."""
        kind, count, at = self.entries.get(tag, (0, 0, 0))
        count = min(count, most)
        if kind not in _NUMBERS or at + count * _SIZES[kind] > len(self.content):
            return ()
        return struct.unpack_from(f"{self.order}{count}{_NUMBERS[kind]}", self.content, at)

    def number(self, tag: int, default: int = 0) -> int:
        return next(iter(self.numbers(tag, 1)), default)

    def text(self, tag: int) -> str:
        kind, count, at = self.entries.get(tag, (0, 0, 0))
        return self.content[at : at + min(count, 256)].split(b"\0")[0].decode("latin-1").strip() if kind == 2 else ""

    def claimed_size(self) -> int:
        """Return how many bytes the values of all tags claim to take."""
        return sum(_SIZES.get(kind, 1) * count for kind, count, _ in self.entries.values())


def directories(content: bytes) -> Iterator[Directory]:
    """Yield the directories of a TIFF or Exif block, each followed by its SubIFDs: at most MAX_DIRECTORIES, each once.

    Raises BrokenPicture if there is none.
    """
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None or len(content) < 8:
        raise BrokenPicture("The picture is damaged: its directory cannot be found. Send it whole.")
    big = struct.unpack_from(f"{order}H", content, 2)[0] == 43
    start = _read_offset(content, order, 8 if big else 4, big)
    if not start:
        raise BrokenPicture("The picture is damaged: it has no directory. Send it whole.")
    pending = [start]
    seen: set[int] = set()
    while pending and len(seen) < MAX_DIRECTORIES:
        at = pending.pop(0)
        if at == 0 or at in seen:
            continue
        seen.add(at)
        directory = _read_directory(content, order, at, big)
        if directory is None:
            if len(seen) == 1:
                raise BrokenPicture("The picture is damaged: its directory lies outside the file. Send it whole.")
            continue
        yield directory
        pending = [*directory.numbers(330), directory.following, *pending]


def orientation(exif: bytes) -> int:
    """Return the Exif orientation, 1 to 8; 1 if there is none or it cannot be read."""
    try:
        first = next(directories(exif))
    except BrokenPicture:
        return 1
    value = first.number(274, 1) if first.entries.get(274, (0, 0))[:2] == (3, 1) else 1  # browsers ignore other types and counts
    return value if 1 <= value <= 8 else 1


def _read_offset(content: bytes, order: str, at: int, big: bool) -> int:
    size, kind = (8, "Q") if big else (4, "I")
    return struct.unpack_from(order + kind, content, at)[0] if at + size <= len(content) else 0


def _read_directory(content: bytes, order: str, at: int, big: bool) -> Directory | None:
    head, entry, inline = (8, 20, 8) if big else (2, 12, 4)
    if at + head > len(content):
        return None
    count = struct.unpack_from(order + ("Q" if big else "H"), content, at)[0]
    end = at + head + count * entry
    if end > len(content) or count > MAX_TAGS:
        return None
    entries = {}
    for start in range(at + head, end, entry):
        tag, kind = struct.unpack_from(f"{order}HH", content, start)
        number = _read_offset(content, order, start + 4, big)
        value = start + entry - inline
        fits = _SIZES.get(kind, 1) * number <= inline
        entries[tag] = (kind, number, value if fits else _read_offset(content, order, value, big))
    return Directory(content, order, entries, _read_offset(content, order, end, big))
