"""Where the training pictures are kept, by what memory there is: decoded, or as their files' bytes, or only on the disk."""

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
"""Of the memory that is free, what pictures may take."""
SIZED = 300
"""Pictures whose sizes are looked at to estimate those of all."""


def available_memory() -> int:
    """Bytes that this process can still take: of the machine's, its control group's and its own limit the least."""
    free = [psutil.virtual_memory().available]
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # where there is no control group, or one without a limit
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    if hasattr(psutil, "RLIMIT_AS"):  # on Linux
        process = psutil.Process()
        limit, _ = process.rlimit(psutil.RLIMIT_AS)
        if limit != psutil.RLIM_INFINITY:
            free.append(limit - process.memory_info().vms)
    return max(0, min(free)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_out_of_memory(error: BaseException) -> bool:
    """Of Python, of torch on a GPU, or of torch on a CPU, which raises nothing of its own."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def decoded_size(paths: Sequence[Path], shorter_side: int) -> int:
    """About how many bytes the pictures take as pixels, shrunk to `shorter_side`: by the headers of some of them."""
    some = paths[:: max(1, len(paths) // SIZED)]
    with ThreadPoolExecutor() as pool:
        sizes = [size for size in pool.map(_size, some) if size]
    if not sizes:
        return 0
    scales = [min(1.0, shorter_side / min(size)) for size in sizes]
    mean = np.mean([3 * width * height * scale**2 for (width, height), scale in zip(sizes, scales, strict=True)])
    return int(mean * len(paths))


def _size(path: Path) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            return image.size
    except Exception:  # of a format that Pillow alone does not read
        with suppress(PictureError, OSError):  # it is named when it is read
            opened = open_picture(path, max_pixels=None)
            return opened.width, opened.height
    return None


def choose_cache(wanted: str, paths: Sequence[Path], shorter_side: int, device: torch.device) -> tuple[Cache, int]:
    """Where to keep the pictures, and the bytes that they take as pixels. Raises ConfigError where what is `wanted` does not fit."""
    pixels = decoded_size(paths, shorter_side)
    encoded = sum(path.stat().st_size for path in paths)
    free = available_memory()
    fits: dict[Cache, bool] = {"memory": pixels <= SHARE * free, "bytes": encoded <= SHARE * free, "files": True}
    if device.type == "cuda":
        fits = {"device": pixels <= SHARE * torch.cuda.mem_get_info(device)[0], **fits}
    if wanted == "auto":
        return next(cache for cache, fit in fits.items() if fit), pixels
    needed = encoded if wanted == "bytes" else pixels
    if not fits.get(wanted, True) and needed > free:  # type: ignore[call-overload]  # of a cache by its name
        raise ConfigError(
            f"cache={wanted}: the pictures take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: leave cache=auto, "
            "or lower load_size"
        )
    return wanted, pixels  # type: ignore[return-value]
