"""Pixels to the bytes of a file, with no metadata."""

import os
import tempfile
from typing import IO, Any

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
    with _file_in_memory() as file:
        Image.fromarray(pixels).save(file, file_format.upper(), **options)
        file.seek(0)
        return file.read()


def _file_in_memory() -> IO[bytes]:
    """With a descriptor: Pillow lets go of the interpreter's lock while it compresses only where it can write to one."""
    return open(os.memfd_create("picture"), "w+b", buffering=0) if hasattr(os, "memfd_create") else tempfile.TemporaryFile()
