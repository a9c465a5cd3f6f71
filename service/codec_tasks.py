"""The tasks of the codec processes: use pictures/ on one upload at a time. This file imports nothing else of the service."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from models.padding import Pixels
from pictures import finish
from pictures.decode import Opened, Picture, decode, open_picture
from pictures.encode import OPTIONS, encode

Image.init()
SAMPLE = (480, 320)  # width and height


@dataclass(frozen=True, eq=False)
class Header:
    """Format and size of an upload."""

    format: str  # in lower case, like `jpeg`
    width: int
    height: int


def read_header(source: bytes | Path, max_pixels: int) -> Header:
    """Raises PictureError."""
    opened = _open(source, max_pixels)
    return Header(opened.format, opened.width, opened.height)


def decode_upload(source: bytes | Path, max_pixels: int, size: int | None) -> Picture:
    """Raises PictureError."""
    return decode(_open(source, max_pixels), size)


def finish_and_encode(
    translation: Pixels, original: Pixels | bytes | Path | None, output_size: tuple[int, int] | None, strength: float, keep_colors: bool,
    file_format: str, quality: int,
) -> bytes:  # fmt: skip
    """Enlarge the translation to `output_size` (width, height) if it is given, combine it with the original, and encode it. `original` is
    the pixels that were translated, the upload if the answer is larger than they are, or None if it is not needed."""
    if output_size:
        translation = finish.enlarge(translation, output_size)
        if isinstance(original, bytes | Path):
            original = decode_upload(original, math.prod(output_size), None).pixels
    if isinstance(original, np.ndarray):
        if keep_colors:
            translation = finish.with_colors_of(original, translation)
        translation = finish.blend(original, translation, strength)
    return encode(translation, file_format, quality)


def difference(a: Pixels, b: Pixels) -> float:
    """Return the mean absolute difference, 0 to 255."""
    return float((np.maximum(a, b) - np.minimum(a, b)).mean())


def measure() -> dict[str, tuple[int, float]]:
    """Return, for each kind of work, the pixels of a sample and the seconds that it took."""
    width, height = SAMPLE
    across = np.linspace(0, 20, width)[None, :, None] * np.array([1, 2, 3])
    waves = 127 + 90 * np.sin(across + np.linspace(0, 9, height)[:, None, None])
    pixels = (waves + np.random.default_rng(0).normal(0, 8, waves.shape)).clip(0, 255).astype(np.uint8)
    results = {}
    for file_format in OPTIONS:
        started_at = time.monotonic()
        content = encode(pixels, file_format, 90)
        encoded_at = time.monotonic()
        decode_upload(content, pixels.size, None)
        results[f"encode {file_format}"] = width * height, encoded_at - started_at
        results[f"decode {file_format}"] = width * height, time.monotonic() - encoded_at
    return results


def _open(source: bytes | Path, max_pixels: int) -> Opened:
    """Open the content rather than the file, so that error texts do not reveal the file's path."""
    return open_picture(source if isinstance(source, bytes) else source.read_bytes(), max_pixels)
