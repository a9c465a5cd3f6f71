"""Choosing where the training pictures are kept, by the free memory: as pixels, as the files' bytes, or only on disk."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch
from PIL import Image

from pictures.decode import open_picture
from pictures.errors import PictureError
from training.config import ConfigError

Cache = Literal["device", "memory", "bytes", "files"]
SHARE = 0.5
"""The share of the free memory that pictures may take."""
SAMPLED = 300
"""How many picture headers are read to estimate the size of all pictures."""


def available_memory() -> int:
    """Return the bytes that this process can still allocate: the least that the machine, the control group and its own limit allow."""
    free = [psutil.virtual_memory().available]
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no control group, or no limit
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    if hasattr(psutil, "RLIMIT_AS"):  # on Linux
        process = psutil.Process()
        limit, _ = process.rlimit(psutil.RLIMIT_AS)
        if limit != psutil.RLIM_INFINITY:
            free.append(limit - process.memory_info().vms)
    return max(0, min(free)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory is full. On CPUs torch raises a plain RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def decoded_size(paths: Sequence[Path], shorter_side: int) -> int:
    """Estimate the bytes of the pictures as pixels, shrunk to `shorter_side`, from the headers of some of them."""
    with ThreadPoolExecutor() as pool:
        sizes = [size for size in pool.map(_size, paths[:: max(1, len(paths) // SAMPLED)]) if size]
    if not sizes:
        return 0
    mean = np.mean([3 * width * height * min(1.0, shorter_side / min(width, height)) ** 2 for width, height in sizes])
    return int(mean * len(paths))


def _size(path: Path) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            return image.size
    except Exception:  # a format that Pillow alone cannot read
        with suppress(PictureError, OSError):  # the error is logged when the picture is read
            opened = open_picture(path, max_pixels=None)
            return opened.width, opened.height
    return None


def choose_cache(cache: str, paths: Sequence[Path], shorter_side: int, device: torch.device) -> tuple[Cache, int]:
    """Return where to keep the pictures, and their bytes as pixels. Raises ConfigError if they do not fit in the named `cache`."""
    pixels = decoded_size(paths, shorter_side)
    encoded = sum(path.stat().st_size for path in paths)
    free = available_memory()
    fits: dict[Cache, bool] = {"memory": pixels <= SHARE * free, "bytes": encoded <= SHARE * free, "files": True}
    if device.type == "cuda":
        fits = {"device": pixels <= SHARE * torch.cuda.mem_get_info(device)[0], **fits}
    if cache == "auto":
        return next(name for name, fit in fits.items() if fit), pixels
    needed = encoded if cache == "bytes" else pixels
    if not fits.get(cache, True) and needed > free:  # type: ignore[call-overload]  # a str for a Cache
        raise ConfigError(
            f"cache={cache}: the pictures take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: leave cache=auto, "
            "or lower load_size"
        )
    return cache, pixels  # type: ignore[return-value]
