"""Two unpaired domains, each a folder of pictures, and the random crops of each step."""

import hashlib
import logging
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from models.padding import Pixels
from pictures.decode import decode, open_picture
from pictures.errors import PictureError
from pictures.identify import SUFFIXES
from training.config import ConfigError, TrainingConfig
from training.memory import choose_cache

log = logging.getLogger(__name__)

CPU = torch.device("cpu")
SMALLEST_SIDE = 16
"""Smallest side in pixels of pictures to train on or to evaluate with."""
TRAIN = ("train", "training")
TEST = ("test", "tests", "testing", "val", "valid", "validation")
"""Lowercase names of folders, in order of preference."""


def list_pictures(folder: Path, without: Sequence[Path] = ()) -> list[Path]:
    """Return the picture files below `folder`, sorted. Follows links; skips hidden files and folders, and the folders `without`.
    Raises ConfigError if there are no pictures."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}: name the folder of the pictures")
    paths = sorted(_walk(folder, {excluded.resolve() for excluded in without}))
    if not paths:
        raise ConfigError(f"{folder} has no pictures")
    return paths


def _walk(folder: Path, visited: set[Path]) -> Iterator[Path]:
    """Yield picture files, visiting each folder only once even if links lead to it."""
    if folder.resolve() in visited:
        return
    visited.add(folder.resolve())
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__MACOSX", "@eaDir")):
            continue
        if path.is_dir():
            yield from _walk(path, visited)
        elif path.suffix.lower() in SUFFIXES:
            if path.is_file():
                yield path
            else:
                log.warning("skipped %s: a broken link", path)


def train_folder(domain: Path) -> Path:
    """Return the domain's train/ if it has one, else the folder itself."""
    return next(iter(_subfolders(domain, TRAIN)), domain)


def train_pictures(domain: Path) -> list[Path]:
    """Return the domain's training pictures. Raises ConfigError if there are none."""
    return list_pictures(train_folder(domain), without=_test_folders(domain))


def test_pictures(domain: Path) -> list[Path]:
    """Return the domain's test pictures; if there are none, its training pictures, with a warning."""
    if folders := _test_folders(domain):
        return list_pictures(folders[0])
    pictures = train_pictures(domain)
    _warn_once(f"{domain} has no test/ next to its training pictures: sheets and figures use pictures that it was trained on")
    return pictures


def paired_folders(data: Path) -> dict[str, Path]:
    """Return trainA/ (or A/) and trainB/ (or B/) in `data` as source and target. Raises ConfigError if they do not exist."""
    folders = {name: _subfolders(data, (f"train{letter}", letter)) for name, letter in (("source", "a"), ("target", "b"))}
    if not all(folders.values()):
        raise ConfigError(f"--data {data}: it has no trainA/ and trainB/; name the two folders of pictures with --source and --target")
    return {name: candidates[0] for name, candidates in folders.items()}


def _test_folders(domain: Path) -> list[Path]:
    """Return the test folders of a domain: test/ (or val/), or testA/ next to a trainA/."""
    absolute = Path(os.path.abspath(domain))
    if match := re.fullmatch("train([ab])", absolute.name.lower()):
        return _subfolders(absolute.parent, [f"{name}{match[1]}" for name in TEST])
    return _subfolders(domain, TEST)


def _subfolders(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the subfolders with one of the lowercase names, ignoring case, in the order of the names."""
    matches = [path for path in sorted(folder.glob("*")) if path.name.lower() in names and path.is_dir()]
    return sorted(matches, key=lambda path: names.index(path.name.lower()))


@cache
def _warn_once(message: str) -> None:
    log.warning(message)


def fingerprint(paths: Sequence[Path], root: Path) -> str:
    """Return a hash of the pictures: their names relative to `root`, their sizes, and their first 64 kB."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
            digest.update(file.read(65536))
    return digest.hexdigest()


def read_pictures(paths: list[Path], shorter_side: int | None = None) -> list[Pixels]:
    """Return pictures as (h, w, 3) RGB bytes, shrunk to `shorter_side`. Skips broken and tiny ones with a warning.
    Raises ConfigError if none can be used."""
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda path: read_picture(path, shorter_side, min_side=SMALLEST_SIDE), paths)
        pictures = [pixels for pixels in results if pixels is not None]
    if not pictures:
        raise _none_usable(paths)
    return pictures


def _none_usable(paths: Sequence[Path]) -> ConfigError:
    return ConfigError(f"none of the {len(paths)} pictures in the folder of {paths[0]} can be used")


def read_picture(path: Path, shorter_side: int | None = None, content: bytes | None = None, min_side: int = 1) -> Pixels | None:
    """Decode a picture like the service does, to (h, w, 3) RGB bytes; shrink it to `shorter_side`.
    Returns None, with a warning, if it cannot be decoded, or a side is below `min_side`. `content` is the file's if it was read already."""
    try:
        opened = open_picture(path.read_bytes() if content is None else content, max_pixels=None)
        sides = (opened.width, opened.height)
        pixels = decode(opened, shorter_side and shorter_side * max(sides) / min(sides)).pixels
    except (PictureError, OSError) as error:
        too_large = isinstance(error.__cause__, MemoryError)
        log.warning("skipped %s: %s", path, "it does not fit in memory: shrink it, or cut it into pieces" if too_large else error)
        return None
    if min(pixels.shape[:2]) < min_side:
        log.warning("skipped %s: %d × %d pixels; both sides must have at least %d", path, *pixels.shape[1::-1], min_side)
        return None
    return pixels


def from_bytes(pictures: Tensor) -> Tensor:
    """Convert (n, h, w, 3) bytes to (n, 3, h, w) floats in [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_bytes(pictures: Tensor) -> Tensor:
    """Convert (n, 3, h, w) floats in [-1, 1] to (n, h, w, 3) bytes. Rounds first, since a cast truncates."""
    return ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def to_tensor(pixels: Pixels) -> Tensor:
    """Convert a (n, h, w, 3) byte array to (n, 3, h, w) floats in [-1, 1]."""
    return from_bytes(torch.tensor(pixels))


def to_pixels(pictures: Tensor) -> Pixels:
    """Convert (n, 3, h, w) floats in [-1, 1] to a (n, h, w, 3) byte array."""
    return to_bytes(pictures).cpu().numpy()


class LazyPictures(Sequence[Pixels]):
    """Pictures that are decoded at each access, from their files or from the files' bytes in memory."""

    def __init__(self, paths: Sequence[Path], shorter_side: int, keep_bytes: bool) -> None:
        self._paths, self._shorter_side = paths, shorter_side
        self._contents = [path.read_bytes() if keep_bytes else None for path in paths]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Pixels:  # type: ignore[override]  # no slices
        """Return the picture, or the next usable one if it is broken. Raises ConfigError if none can be used."""
        for i in (*range(index, len(self)), *range(index)):
            pixels = read_picture(self._paths[i], self._shorter_side, self._contents[i], SMALLEST_SIDE)
            if pixels is not None:
                return pixels
        raise _none_usable(self._paths)


class Domain:
    """The training pictures of one domain. The crops of a step depend only on (seed, step), so that a resumed run continues exactly."""

    def __init__(
        self, pictures: Sequence[Pixels], config: TrainingConfig, stream: int, rank: int = 0, *, listed: int = 0, fingerprint: str = "",
        device: torch.device | None = None,
    ) -> None:  # fmt: skip
        """`stream` and `rank` make the random numbers of domains and processes different.
        `listed` and `fingerprint` are the number and the hash of the pictures of all processes. With `device`, pictures are kept there."""
        self.pictures = pictures
        self.config = config
        self.listed, self.fingerprint = listed or len(pictures), fingerprint
        self._seed = (config.seed, stream, rank) if rank else (config.seed, stream)
        self._on_device = [torch.tensor(pixels, device=device).permute(2, 0, 1) for pixels in pictures] if device else None
        self._order = lru_cache(2)(self._shuffle)  # threads ask for the current and the next epoch

    def batch(self, step: int) -> Tensor:
        """Return the crops of a step: (step_size, 3, crop_size, crop_size) floats in [-1, 1]."""
        size = self.config.step_size
        drawn = [self._draw(step * size + i) for i in range(size)]
        if self._on_device is not None:
            return from_bytes(torch.stack([_random_crop_on_device(self._on_device[i], self.config, random) for i, random in drawn]))
        return to_tensor(np.stack([_random_crop(self.pictures[i], self.config, random) for i, random in drawn]))

    def _draw(self, position: int) -> tuple[int, np.random.Generator]:
        """Return the index of the picture at a position in the order of training, and the random numbers for its crop."""
        epoch, index = divmod(position, len(self.pictures))
        return int(self._order(epoch)[index]), np.random.default_rng((*self._seed, epoch, index))

    def _shuffle(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((*self._seed, epoch)).permutation(len(self.pictures))


def _random_crop(pixels: Pixels, config: TrainingConfig, random: np.random.Generator) -> Pixels:
    """Scale, crop and flip. Only the crop's box in the original picture is resized.
    Boxes start at whole pixels of the scaled picture, so that a picture which needs no scaling stays sharp."""
    height, width = pixels.shape[:2]
    scale = min(height, width) / random.integers(*config.load_size, endpoint=True)
    left, top = (random.integers(int(side / scale + 1e-6) - config.crop_size, endpoint=True) * scale for side in (width, height))
    right, bottom = (min(start + config.crop_size * scale, side) for start, side in ((left, width), (top, height)))
    crop = Image.fromarray(pixels).resize((config.crop_size, config.crop_size), Image.Resampling.BICUBIC, box=(left, top, right, bottom))
    return np.asarray(ImageOps.mirror(crop) if config.flip and random.random() < 0.5 else crop)


def _random_crop_on_device(picture: Tensor, config: TrainingConfig, random: np.random.Generator) -> Tensor:
    """Do the same for (3, h, w) bytes on a device. Scales the whole picture, which is cheap on a GPU. Returns (h, w, 3)."""
    height, width = picture.shape[1:]
    scale = random.integers(*config.load_size, endpoint=True) / min(height, width)
    sides = round(height * scale), round(width * scale)
    if sides != (height, width):
        scaled = functional.interpolate(picture[None].float(), sides, mode="bicubic", antialias=True)[0]
        picture = scaled.round().clamp(0, 255).to(torch.uint8)
    left, top = (int(random.integers(side - config.crop_size, endpoint=True)) for side in sides[::-1])
    crop = picture[:, top : top + config.crop_size, left : left + config.crop_size]
    return (crop.flip(2) if config.flip and random.random() < 0.5 else crop).permute(1, 2, 0)


def load_domains(config: TrainingConfig, rank: int = 0, ranks: int = 1, device: torch.device = CPU) -> tuple[Domain, Domain]:
    """Load the training pictures of both domains, or a process's share of them. Raises ConfigError."""
    folders = (config.source, config.target)
    listed = [train_pictures(folder) for folder in folders]
    x, y = ({path.resolve() for path in paths} for paths in listed)
    if x <= y or y <= x:
        raise ConfigError("source and target have the same pictures: name two folders without common pictures")
    shares = [paths[rank::ranks] or paths for paths in listed]
    where, size = choose_cache(config.cache, [*shares[0], *shares[1]], config.load_size[1], device)
    is_lazy = where in ("bytes", "files")
    if is_lazy:
        log.warning("the pictures take %.1f GB as pixels: they are decoded again for each step, from %s", size / 1e9, where)
    domains = []
    for stream, (folder, paths, share) in enumerate(zip(folders, listed, shares, strict=True)):
        pictures: Sequence[Pixels]
        if is_lazy:
            pictures = LazyPictures(share, config.load_size[1], keep_bytes=where == "bytes")
        else:
            pictures = read_pictures(share, config.load_size[1])
            if small := sum(min(pixels.shape[:2]) < config.crop_size for pixels in pictures):
                log.warning("%d of %d pictures in %s are smaller than crop_size and are enlarged", small, len(pictures), folder)
        digest = fingerprint(paths, train_folder(folder))
        keep_on = device if where == "device" else None
        domains.append(Domain(pictures, config, stream, rank, listed=len(paths), fingerprint=digest, device=keep_on))
    return domains[0], domains[1]


def batches(x: Domain, y: Domain, first: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of both domains from step `first` on, on `device`. Threads prepare the next ones in advance."""
    workers = x.config.workers or min(os.cpu_count() or 1, 8)

    def prepare(step: int) -> tuple[Tensor, Tensor]:
        pair = x.batch(step), y.batch(step)
        pin = device.type == "cuda" and pair[0].device.type == "cpu"
        return (pair[0].pin_memory(), pair[1].pin_memory()) if pin else pair

    with ThreadPoolExecutor(workers) as threads:
        pending = deque(threads.submit(prepare, step) for step in range(first, first + workers))
        for step in count(first + workers):
            batch_x, batch_y = pending.popleft().result()
            pending.append(threads.submit(prepare, step))
            yield batch_x.to(device, non_blocking=True), batch_y.to(device, non_blocking=True)
