"""JPEG: count the segments and scans, and leave out segments that do not concern pixels."""

import re

from pictures import tags
from pictures.errors import BrokenPicture, NotAPicture
from pictures.parts import Parts

MAX_SEGMENTS = 10_000
MAX_SCANS = 100
"""Each scan is a pass over the whole picture, however small its data; programs write about ten."""
_MARKER = re.compile(rb"(?<!\xff)\xff++([^\x00\xff\xd0-\xd7])")
_SHORTEST_EXIF = 12
"""In bytes. Browsers skip shorter Exif segments and look for the next."""
_SCAN, _END, _EXIF, _PROFILE, _ADOBE = 0xDA, 0xD9, 0xE1, 0xE2, 0xEE
_FRAMES = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xCB: "lossless, arithmetic-coded",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "hierarchical",
    0xF7: "JPEG-LS kind of",
}


def examine(content: bytes) -> Parts:
    """Return the file without segments that do not concern pixels.

    Raises BrokenPicture if there are too many segments or scans, and NotAPicture if this kind of JPEG is not supported.
    """
    kept, exif, at = [content[:2]], b"", 2
    profile_parts: dict[int, bytes] = {}  # the parts of the profile
    view, count = memoryview(content), 0
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(view[at:])  # sliced, so that the lookbehind does not see the last byte of a segment, which may be 0xFF
        if marker is None or marker[1][0] == _END:
            break
        kind, start = marker[1][0], at + marker.end()
        if kind == _SCAN:
            _count_scans(content, start)
            kept.append(content[start - 2 :])
            return Parts(b"".join(kept), orientation=tags.orientation(exif), profile=_join_profile(profile_parts, count))
        if kind in (0x01, 0xD8):  # markers without a length
            at = start
            continue
        at = start + max(2, int.from_bytes(content[start : start + 2], "big"))
        body = content[start + 2 : at]
        if kind == _EXIF and body.startswith(b"Exif\0") and len(body) >= _SHORTEST_EXIF:
            exif = exif or body[6:]
        elif kind == _PROFILE and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            count = count or body[13]
            profile_parts.setdefault(body[12], body[14:])
        elif kind == 0xF7 or (kind & 0xF0 == 0xC0 and kind not in (0xC4, 0xC8, 0xCC)):
            _check_frame(kind, body)
        if _concerns_pixels(kind, body):
            kept.append(b"\xff" + content[start - 1 : at])
    else:
        raise BrokenPicture(f"The JPEG has more than {MAX_SEGMENTS:,} segments before its pixels: save it again, without metadata.")
    raise BrokenPicture("The JPEG ends before its pixels: send it whole.")


def _join_profile(profile_parts: dict[int, bytes], count: int) -> bytes | None:
    """Join the parts of a profile, which are numbered from 1. Returns None if one is missing."""
    numbers = range(1, count + 1)
    return b"".join(profile_parts[number] for number in numbers) if all(number in profile_parts for number in numbers) else None


def _concerns_pixels(kind: int, body: bytes) -> bool:
    """Return whether the segment concerns the pixels."""
    if 0xE0 <= kind <= 0xEF:
        return kind == 0xE0 or (kind == _ADOBE and body.startswith(b"Adobe"))
    return kind != 0xFE  # comment


def _check_frame(kind: int, body: bytes) -> None:
    precision = body[0] if body else 8
    if precision != 8 or kind in _FRAMES:
        name = f"{precision}-bit" if precision != 8 else _FRAMES[kind]
        raise NotAPicture(f"This is a {name} JPEG, which is not supported: export it as an ordinary JPEG of 8 bits, as PNG or as TIFF.")


def _count_scans(content: bytes, at: int) -> None:
    """Raise BrokenPicture if there are more than MAX_SCANS; `at` is the offset after the header of the first."""
    if content.count(b"\xff\xda", at) < MAX_SCANS:
        return
    scans = 1  # count properly: a phone's JPEG may have a video appended, whose bytes look like scans
    while (marker := _MARKER.search(content, at)) and marker[1][0] != _END:
        at = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
        scans += marker[1][0] == _SCAN
        if scans > MAX_SCANS:
            raise BrokenPicture(f"The JPEG has more than {MAX_SCANS} scans, made to keep decoders busy: save it again.")
