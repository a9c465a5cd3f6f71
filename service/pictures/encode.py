"""Pixels to the bytes of a file, with no metadata."""

import io
from typing import Any

from PIL import Image

from models.padding import Pixels

OPTIONS: dict[str, dict[str, Any]] = {
    "jpeg": {"optimize": False},
    "png": {"compress_level": 1},
    "webp": {"method": 2},
    "avif": {"speed": 9},
}
"""The formats that are written, each at a fast level."""
SUFFIXES = {"jpeg": "jpg", "png": "png", "webp": "webp", "avif": "avif"}


def encode(pixels: Pixels, file_format: str, quality: int) -> bytes:
    """`pixels`, uint8 (h, w, 3), as a file of one of OPTIONS; `quality` from 1 to 100 (PNG is lossless)."""
    options = OPTIONS[file_format] | ({} if file_format == "png" else {"quality": quality})
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format.upper(), **options)
    return buffer.getvalue()
