"""AVIF and HEIC: read from the boxes how the primary picture's colours are described (ISO/IEC 14496-12 and 23008-12)."""

import struct
from collections.abc import Iterator

from pictures import av1, signals
from pictures.errors import BrokenPicture
from pictures.parts import Parts

MAX_BOXES = 20_000
_VIDEO_CURVES, _SRGB_CURVE = (1, 6, 14, 15), 13
"""In these formats, browsers treat these video curves as sRGB's."""
Box = tuple[bytes, int, int]
"""Kind, and start and end of the content."""


def examine(content: bytes) -> Parts:
    """Return the file with its colour description. Raises BrokenPicture if the file has too many boxes."""
    properties = list(_primary_properties(content)) or list(_track_properties(content))
    numbers, peak, profile, depth = None, None, None, 8
    for kind, start, end in properties:
        if kind == b"colr" and content[start : start + 4] == b"nclx":
            numbers = numbers or content[start + 4 : start + 8]
        elif kind == b"colr" and content[start : start + 4] in (b"prof", b"rICC"):
            profile = profile or content[start + 4 : end]
        elif kind == b"pixi":
            depth = max(depth, content[start + 5])
        elif kind == b"av1C":
            depth = max(depth, (8, 8, 10, 12)[content[start + 2] >> 5 & 3])
        elif kind == b"clli":
            peak = float(int.from_bytes(content[start : start + 2], "big")) or peak
        elif kind == b"mdcv":
            peak = peak or int.from_bytes(content[start + 16 : start + 20], "big") / 10_000
    if numbers is None:
        primaries, transfer = next(filter(None, map(av1.read_colour_numbers, _item_data(content))), (0, 0))
    else:
        primaries, transfer = struct.unpack(">HH", numbers.ljust(4, b"\0"))
    signal = signals.from_numbers(primaries, _SRGB_CURVE if transfer in _VIDEO_CURVES else transfer, peak)
    return Parts(content, profile=profile, signal=signal, depth=depth)


def boxes(content: bytes, start: int, end: int) -> Iterator[Box]:
    """Yield the consecutive boxes between two offsets. Raises BrokenPicture if there are too many."""
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", content, start)
        head = 8
        if length == 1 and start + 16 <= end:
            (length,), head = struct.unpack_from(">Q", content, start + 8), 16
        stop = end if length == 0 else min(end, start + max(length, head))
        yield kind, start + head, stop
        start = stop
    raise BrokenPicture(f"The picture has more than {MAX_BOXES:,} boxes, made to keep decoders busy: save it again.")


def _find_box(content: bytes, box: Box | None, kind: bytes, skipped: int = 0) -> Box | None:
    """Return the first box of a kind inside a box, after skipping its first `skipped` bytes."""
    return None if box is None else next((each for each in boxes(content, box[1] + skipped, box[2]) if each[0] == kind), None)


def _primary_properties(content: bytes) -> Iterator[Box]:
    """Yield the properties of the primary item, or of all items if it has no colours itself (like a grid, whose tiles have them)."""
    meta = _find_box(content, (b"", 0, len(content)), b"meta")
    item_properties = _find_box(content, meta, b"iprp", 4)
    container = _find_box(content, item_properties, b"ipco")
    primary = _find_box(content, meta, b"pitm", 4)
    if item_properties is None or container is None or primary is None:
        return
    everything = list(boxes(content, *container[1:]))
    item = int.from_bytes(content[primary[1] + 4 : primary[1] + (8 if content[primary[1]] else 6)], "big")
    own = [
        everything[index - 1]
        for associations in boxes(content, *item_properties[1:])
        if associations[0] == b"ipma"
        for index in _property_indices(content, associations, item)
        if 0 < index <= len(everything)
    ]
    yield from own if any(kind == b"colr" for kind, _, _ in own) else everything


def _item_data(content: bytes) -> Iterator[bytes]:
    """Yield the start of each item's data that is in the file itself (iloc, 8.11.3)."""
    location = _find_box(content, _find_box(content, (b"", 0, len(content)), b"meta"), b"iloc", 4)
    if location is None:
        return
    at, version = location[1] + 6, content[location[1]]
    sizes = content[at - 2 : at].ljust(2, b"\0")
    offset_size, length_size, base_size, index_size = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4, sizes[1] & 15 if version else 0

    def take(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(content[at - size : at], "big")

    name_size = 4 if version == 2 else 2
    for _ in range(min(take(name_size), MAX_BOXES)):
        take(name_size)
        is_external = (take(2) & 15 if version else 0) + take(2)
        base, extents = take(base_size), take(2)
        take(index_size)
        start, length = base + take(offset_size), take(length_size)
        at += (extents - 1) * (index_size + offset_size + length_size)
        if not is_external:
            yield content[start : start + min(length, 512)]


def _property_indices(content: bytes, box: Box, item: int) -> list[int]:
    """Return the property indices, counted from 1, that an ipma box assigns to an item."""
    _, at, end = box
    version, long = content[at], content[at + 3] & 1
    count = int.from_bytes(content[at + 4 : at + 8], "big")
    at += 8
    for _ in range(min(count, MAX_BOXES)):
        wide = 4 if version else 2
        name, number = int.from_bytes(content[at : at + wide], "big"), int.from_bytes(content[at + wide : at + wide + 1], "big")
        at += wide + 1
        size = 2 if long else 1
        if name == item:
            values = [int.from_bytes(content[i : i + size], "big") for i in range(at, min(end, at + number * size), size)]
            return [value & (0x7FFF if long else 0x7F) for value in values]
        at += number * size
        if at >= end:
            break
    return []


def _track_properties(content: bytes) -> Iterator[Box]:
    """Yield the properties of a sequence without a primary item, from its first track's sample description."""
    box: Box | None = (b"", 0, len(content))
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        box = _find_box(content, box, kind)
    description = _find_box(content, box, b"stsd")
    if description is not None:
        for _, start, end in boxes(content, description[1] + 8, description[2]):
            yield from boxes(content, start + 78, end)
