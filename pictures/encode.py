"""Pixels to the bytes of a file, with no metadata."""

import os
import tempfile
import threading
from typing import Any

import numpy as np
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


KEPT = 4 * 2**20
"""Bytes that a thread keeps in memory from one picture to the next."""


class _Scratch(threading.local):
    """A file in memory for each thread, with a descriptor: Pillow lets go of the interpreter's lock while it compresses only
    where it can write to one. It lasts, since each call of the system lets go of the lock too, and has to wait for it."""

    def __init__(self) -> None:
        in_memory = hasattr(os, "memfd_create")
        self.file = open(os.memfd_create("picture"), "w+b", buffering=0) if in_memory else tempfile.TemporaryFile(buffering=0)  # noqa: SIM115


_scratch = _Scratch()


def encode(pixels: Pixels, file_format: str, quality: int) -> bytes:
    """`pixels`, uint8 (h, w, 3), as a file of one of OPTIONS; `quality` from 1 to 100 (PNG is lossless)."""
    options = OPTIONS[file_format] | ({} if file_format == "png" else {"quality": quality})
    file = _scratch.file
    file.seek(0)
    image = Image.new("RGB", pixels.shape[1::-1], None)  # not filled: that would be one time more to wait for the lock
    image.frombytes(np.ascontiguousarray(pixels))
    image.save(file, file_format.upper(), **options)
    size = file.tell()
    file.seek(0)
    content = file.read(size)
    if size > KEPT:
        file.truncate(0)
    return content
