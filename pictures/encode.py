"""Pixels to the bytes of a file, with no metadata."""

import io
from typing import Any

from PIL import Image

from models.padding import Pixels
from pictures.errors import TooLongForFormat

OPTIONS: dict[str, dict[str, Any]] = {
    "jpeg": {"optimize": False},
    "png": {"compress_level": 1},
    "webp": {"method": 2},
    "avif": {"speed": 9},
}
"""The formats that are written, each at a fast level."""
SUFFIXES = {"jpeg": "jpg", "png": "png", "webp": "webp", "avif": "avif"}
LONGEST = {"jpeg": 65_500, "webp": 16_383, "avif": 32_768}
"""Pixels that a side may have (libjpeg's, libwebp's and libavif's limits); PNG has room for any."""


def check_size(width: int, height: int, file_format: str) -> None:
    """Raises TooLongForFormat where a picture of this size cannot be written in that format."""
    longest = LONGEST.get(file_format)
    if longest is not None and max(width, height) > longest:
        raise TooLongForFormat(
            f"The answer would have {width} × {height} pixels, and a side of {file_format.upper()} has at most {longest:,}: "
            "ask for PNG (format=png) or a smaller size."
        )


def encode(pixels: Pixels, file_format: str, quality: int) -> bytes:
    """`pixels`, uint8 (h, w, 3), as a file of one of OPTIONS; `quality` from 1 to 100 (PNG is lossless). Raises TooLongForFormat."""
    image = Image.fromarray(pixels)
    check_size(*image.size, file_format)
    options = OPTIONS[file_format] | ({} if file_format == "png" else {"quality": quality})
    file = io.BytesIO()
    image.save(file, file_format.upper(), **options)
    return file.getvalue()
