"""Encode pixels as a file without metadata."""

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
"""The output formats, each with fast settings."""
SUFFIXES = {"jpeg": "jpg", "png": "png", "webp": "webp", "avif": "avif"}
LONGEST = {"jpeg": 65_500, "webp": 16_383, "avif": 32_768}
"""The longest side in pixels that libjpeg, libwebp and libavif can write; PNG has no such limit."""


def check_size(width: int, height: int, file_format: str) -> None:
    """Raise TooLongForFormat if the format cannot hold a picture of this size."""
    longest = LONGEST.get(file_format)
    if longest is not None and max(width, height) > longest:
        raise TooLongForFormat(
            f"The answer would have {width} × {height} pixels, and a side of {file_format.upper()} has at most {longest:,}: "
            "ask for PNG (format=png) or a smaller size."
        )


def encode(pixels: Pixels, file_format: str, quality: int) -> bytes:
    """Encode `pixels`, uint8 (h, w, 3), in one of the formats of OPTIONS.

    `quality` is 1 to 100 and has no effect on PNG, which is lossless. Raises TooLongForFormat.
    """
    image = Image.fromarray(pixels)
    check_size(*image.size, file_format)
    options = OPTIONS[file_format] | ({} if file_format == "png" else {"quality": quality})
    file = io.BytesIO()
    image.save(file, file_format.upper(), **options)
    return file.getvalue()
