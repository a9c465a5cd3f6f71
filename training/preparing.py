"""A folder of pictures as they were gathered to a domain: without duplicates, scans' white borders and what is too small, split in two.

What is kept is copied byte for byte, unless a border is cut off.
"""

import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.config import ConfigError
from training.data import Pixels, list_pictures, read_picture
from training.files import check_writable, whole

REPORT = "report.json"
CONTACT_SHEET = "contact.jpg"
WHITE = 235
"""What each channel of a border's pixels reaches, of 255 …"""
BORDER = 0.98
"""… in so large a share of a row or column."""
THUMB, COLUMNS, ROWS = 96, 12, 12


@dataclass(frozen=True)
class Looked:
    """What was found about a picture."""

    path: Path
    size: tuple[int, int]
    """Width and height, without borders."""
    border: tuple[int, int, int, int] | None
    """What is inside of the borders: left, top, right, bottom; None where there are none."""
    hash: int
    """64 bits that similar pictures have mostly alike (Zauner, "Implementation and Benchmarking of Perceptual
    Image Hash Functions", 2010)."""
    share: float
    """In [0, 1), by the file's content alone: which part of the domain it falls into."""


@dataclass(frozen=True)
class Prepared:
    """What became of a folder of pictures."""

    kept: dict[str, int]
    """Pictures in train and in test."""
    left_out: dict[str, int]
    """By reason."""
    bordered: int
    report: Path
    contact_sheet: Path


def prepare(folder: Path, output: Path, min_side: int = 256, test: float = 0.1, distance: int = 4, keep_borders: bool = False) -> Prepared:
    """Make a domain in `output`, with train/ and test/, of the pictures below `folder`.

    Of pictures whose hashes differ in at most `distance` of 64 bits, the largest is kept. A share of `test` is for testing, chosen by
    the files' content, so that a picture stays on its side when others are added. Raises ConfigError.
    """
    if folder.resolve() in output.resolve().parents:
        raise ConfigError(f"{output} lies in {folder}, whose pictures it would become: name an --output elsewhere")
    if output.resolve() == folder.resolve() or any((output / part).exists() for part in ("train", "test")):
        raise ConfigError(f"{output} has pictures already: name another --output, or delete it")
    paths = list_pictures(folder)
    check_writable(output)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda path: _look(path, keep_borders), paths))
    reasons = {path: "cannot be read" for path, looked in zip(paths, found, strict=True) if looked is None}
    looked = [each for each in found if each is not None]
    reasons |= {each.path: f"smaller than {min_side} pixels" for each in looked if min(each.size) < min_side}
    originals = _duplicates([each for each in looked if each.path not in reasons], distance)
    reasons |= {path: f"like {original.relative_to(folder)}" for path, original in originals.items()}
    kept = [each for each in looked if each.path not in reasons]
    if not kept:
        raise ConfigError(f"none of the {len(paths)} pictures in {folder} is left: lower --min-side, which is {min_side}")

    parts = _split(kept, test)
    with ThreadPoolExecutor() as pool:
        written = list(pool.map(lambda each: _write(each, output / parts[each.path] / each.path.relative_to(folder)), kept))
    entries = [
        {"file": str(path.relative_to(folder)), "kept": parts.get(path), "left out": reasons.get(path)} for path in paths
    ]  # fmt: skip
    with whole(output / REPORT) as file:
        file.write(json.dumps(entries, indent=1, ensure_ascii=False).encode())
    with whole(output / CONTACT_SHEET) as file:
        file.write(_contact_sheet(written))
    return Prepared(
        dict(Counter(parts.values())),
        dict(Counter("alike" if reason.startswith("like ") else reason for reason in reasons.values())),
        sum(each.border is not None for each in kept),
        output / REPORT,
        output / CONTACT_SHEET,
    )


def _look(path: Path, keep_borders: bool) -> Looked | None:
    pixels = read_picture(path)
    if pixels is None:
        return None
    border = None if keep_borders else inside_of_border(pixels)
    if border:
        pixels = _cut(pixels, border)
    small = Image.fromarray(pixels)
    bits = imagehash.phash(small).hash.flatten()
    digest = hashlib.sha256(path.read_bytes()).digest()
    return Looked(path, small.size, border, int("".join("01"[int(bit)] for bit in bits), 2), int.from_bytes(digest[:6]) / 2**48)


def inside_of_border(pixels: Pixels) -> tuple[int, int, int, int] | None:
    """What is inside of a scan's white border: left, top, right, bottom. None where there is none, or only on one side, as a white sky is,
    or where all is white."""
    white = (pixels >= WHITE).all(axis=2)
    top, bottom = _ends(white.mean(axis=1))
    left, right = _ends(white.mean(axis=0))
    height, width = white.shape
    around = (left > 0 and right < width) or (top > 0 and bottom < height)
    return (left, top, right, bottom) if around and right > left and bottom > top else None


def _ends(shares: NDArray[np.float64]) -> tuple[int, int]:
    """The first and behind the last that is no border."""
    inside = np.flatnonzero(shares < BORDER)
    return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)


def _cut(pixels: Pixels, border: tuple[int, int, int, int]) -> Pixels:
    left, top, right, bottom = border
    return pixels[top:bottom, left:right]


def _duplicates(looked: Sequence[Looked], distance: int) -> dict[Path, Path]:
    """Each picture that is like a larger one, and that one."""
    ordered = sorted(looked, key=lambda each: (-each.size[0] * each.size[1], each.path))
    hashes = np.empty(len(ordered), np.uint64)
    kept: list[Looked] = []
    originals: dict[Path, Path] = {}
    for each in ordered:
        bits = np.bitwise_count(hashes[: len(kept)] ^ np.uint64(each.hash))
        if len(kept) and bits.min() <= distance:
            originals[each.path] = kept[int(bits.argmin())].path
        else:
            hashes[len(kept)] = each.hash
            kept.append(each)
    return originals


def _split(kept: Sequence[Looked], test: float) -> dict[Path, str]:
    """By content; each part has two pictures at least where there are four, as many as `evaluate` needs, and one where there are two."""
    ordered = sorted(kept, key=lambda each: each.share)
    count = sum(each.share < test for each in ordered)
    if test and len(ordered) > 1:
        least = 2 if len(ordered) > 3 else 1
        count = min(max(count, least), len(ordered) - least)
    return {each.path: "test" if i < count else "train" for i, each in enumerate(ordered)}


def _write(looked: Looked, output: Path) -> Path:
    """Where it was written."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if looked.border is None:
        return shutil.copyfile(looked.path, output)
    pixels = read_picture(looked.path)
    assert pixels is not None
    output = output.with_name(f"{output.name}.png")
    Image.fromarray(_cut(pixels, looked.border)).save(output)
    return output


def _contact_sheet(paths: Sequence[Path]) -> bytes:
    """A JPEG of some of the pictures, evenly spread."""
    shown = paths[:: max(1, -(-len(paths) // (COLUMNS * ROWS)))]
    rows = -(-len(shown) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * THUMB, rows * THUMB), "white")
    for i, path in enumerate(shown):
        pixels = read_picture(path, THUMB)
        if pixels is not None:
            sheet.paste(ImageOps.fit(Image.fromarray(pixels), (THUMB, THUMB)), (i % COLUMNS * THUMB, i // COLUMNS * THUMB))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
