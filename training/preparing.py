"""Making a domain from a folder of collected pictures: without duplicates, scans' white borders and small pictures, split in two.

Pictures are copied byte for byte unless a border is cut off.
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
from training.files import check_writable, write_atomic

REPORT = "report.json"
CONTACT_SHEET = "contact.jpg"
WHITE = 235
"""A pixel is white if all its channels have at least this value …"""
BORDER = 0.98
"""… and a row or column belongs to the border if at least this share of its pixels is white."""
THUMB, COLUMNS, ROWS = 96, 12, 12

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Candidate:
    """A picture that could be read."""

    path: Path
    size: tuple[int, int]
    """Width and height, without the border."""
    box: Box | None
    """The picture inside the border; None if there is no border."""
    hash: int
    """64 bits, most of which similar pictures have in common (Zauner, "Implementation and Benchmarking of Perceptual Image Hash
    Functions", 2010)."""
    share: float
    """A number in [0, 1) from the file's content, which decides between train/ and test/."""


@dataclass(frozen=True)
class Prepared:
    """The result of `prepare`."""

    kept: dict[str, int]
    """The number of pictures in train and in test."""
    left_out: dict[str, int]
    """The number of pictures by reason."""
    cropped: int
    """The number of pictures whose border was cut off."""
    report: Path
    contact_sheet: Path


def prepare(folder: Path, output: Path, min_side: int = 256, test: float = 0.1, distance: int = 4, keep_borders: bool = False) -> Prepared:
    """Make a domain in `output`, with train/ and test/, from the pictures below `folder`.

    Of pictures whose hashes differ in at most `distance` of 64 bits, the largest is kept. The share `test` becomes test pictures; the
    choice depends on the files' content, so that a picture stays on its side when others are added. Raises ConfigError.
    """
    if folder.resolve() in output.resolve().parents:
        raise ConfigError(f"{output} is in {folder}, so its pictures would be prepared again: name an --output elsewhere")
    if output.resolve() == folder.resolve() or any((output / part).exists() for part in ("train", "test")):
        raise ConfigError(f"{output} has pictures already: name another --output, or delete it")
    paths = list_pictures(folder)
    check_writable(output)
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda path: _inspect(path, keep_borders), paths))
    reasons = {path: "cannot be read" for path, result in zip(paths, results, strict=True) if result is None}
    candidates = [result for result in results if result is not None]
    reasons |= {each.path: f"smaller than {min_side} pixels" for each in candidates if min(each.size) < min_side}
    originals = _find_duplicates([each for each in candidates if each.path not in reasons], distance)
    reasons |= {path: f"like {original.relative_to(folder)}" for path, original in originals.items()}
    kept = [each for each in candidates if each.path not in reasons]
    if not kept:
        raise ConfigError(f"none of the {len(paths)} pictures in {folder} is left: lower --min-side, which is {min_side}")

    parts = _split(kept, test)
    with ThreadPoolExecutor() as pool:
        written = list(pool.map(lambda each: _write(each, output / parts[each.path] / each.path.relative_to(folder)), kept))
    entries = [{"file": str(path.relative_to(folder)), "kept": parts.get(path), "left out": reasons.get(path)} for path in paths]
    write_atomic(output / REPORT, json.dumps(entries, indent=1, ensure_ascii=False).encode())
    write_atomic(output / CONTACT_SHEET, _contact_sheet(written))
    return Prepared(
        dict(Counter(parts.values())),
        dict(Counter("alike" if reason.startswith("like ") else reason for reason in reasons.values())),
        sum(each.box is not None for each in kept),
        output / REPORT,
        output / CONTACT_SHEET,
    )


def _inspect(path: Path, keep_borders: bool) -> Candidate | None:
    pixels = read_picture(path)
    if pixels is None:
        return None
    box = None if keep_borders else inside_of_border(pixels)
    picture = Image.fromarray(pixels).crop(box) if box else Image.fromarray(pixels)
    digest = hashlib.sha256(path.read_bytes()).digest()
    return Candidate(path, picture.size, box, int(str(imagehash.phash(picture)), 16), int.from_bytes(digest[:6]) / 2**48)


def inside_of_border(pixels: Pixels) -> Box | None:
    """Return the part of a scan inside its white border.
    None if there is no border, or only on one side, like a white sky, or if everything is white."""
    white = (pixels >= WHITE).all(axis=2)
    top, bottom = _content_range(white.mean(axis=1))
    left, right = _content_range(white.mean(axis=0))
    height, width = white.shape
    around = (left > 0 and right < width) or (top > 0 and bottom < height)
    return (left, top, right, bottom) if around and right > left and bottom > top else None


def _content_range(shares: NDArray[np.float64]) -> tuple[int, int]:
    """Return the range of rows or columns between the borders, given their shares of white pixels."""
    inside = np.flatnonzero(shares < BORDER)
    return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)


def _find_duplicates(candidates: Sequence[Candidate], distance: int) -> dict[Path, Path]:
    """Return the pictures that are like a larger one, with that one."""
    ordered = sorted(candidates, key=lambda each: (-each.size[0] * each.size[1], each.path))
    hashes = np.empty(len(ordered), np.uint64)
    kept: list[Candidate] = []
    originals: dict[Path, Path] = {}
    for each in ordered:
        distances = np.bitwise_count(hashes[: len(kept)] ^ np.uint64(each.hash))
        if len(kept) and distances.min() <= distance:
            originals[each.path] = kept[int(distances.argmin())].path
        else:
            hashes[len(kept)] = each.hash
            kept.append(each)
    return originals


def _split(kept: Sequence[Candidate], test: float) -> dict[Path, str]:
    """Return the part of each picture. Each part gets at least two of four or more pictures, as `evaluate` needs, or one of two."""
    ordered = sorted(kept, key=lambda each: each.share)
    count = sum(each.share < test for each in ordered)
    if test and len(ordered) > 1:
        least = 2 if len(ordered) > 3 else 1
        count = min(max(count, least), len(ordered) - least)
    return {each.path: "test" if i < count else "train" for i, each in enumerate(ordered)}


def _write(candidate: Candidate, output: Path) -> Path:
    """Copy the picture, or write it as PNG without its border. Returns the written file."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if candidate.box is None:
        return shutil.copyfile(candidate.path, output)
    pixels = read_picture(candidate.path)
    assert pixels is not None
    output = output.with_name(f"{output.name}.png")
    Image.fromarray(pixels).crop(candidate.box).save(output)
    return output


def _contact_sheet(paths: Sequence[Path]) -> bytes:
    """Return a JPEG of some of the pictures, evenly spread."""
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
