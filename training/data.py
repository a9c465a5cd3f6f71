"""Two unpaired domains: each a folder of pictures, cropped anew for every step."""

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
"""In pixels, of pictures to learn from or to judge by."""
TRAIN = ("train", "training")
TEST = ("test", "tests", "testing", "val", "valid", "validation")
"""Names of folders, in small letters, by what is preferred."""


def list_pictures(folder: Path, without: Sequence[Path] = ()) -> list[Path]:
    """The picture files in `folder` and below, in a fixed order; links are followed, hidden files and folders left out, and the folders
    `without`. Raises ConfigError where there are none."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is {'no folder' if folder.exists() else 'not there'}: name the folder that the pictures are in")
    paths = sorted(_walk(folder, {each.resolve() for each in without}))
    if not paths:
        raise ConfigError(f"{folder} holds no pictures")
    return paths


def _walk(folder: Path, known: set[Path]) -> Iterator[Path]:
    """Each folder once, though links may lead to it, too; those `known` not at all."""
    if folder.resolve() in known:
        return
    known.add(folder.resolve())
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__MACOSX", "@eaDir")):
            continue
        if path.is_dir():
            yield from _walk(path, known)
        elif path.suffix.lower() in SUFFIXES:
            if path.is_file():
                yield path
            else:
                log.warning("skipped %s: a link to nothing", path)


def train_folder(domain: Path) -> Path:
    """Where a domain's training pictures are: in train/ where there is one, else in the folder itself."""
    return next(iter(_below(domain, TRAIN)), domain)


def train_pictures(domain: Path) -> list[Path]:
    """The domain's training pictures. Raises ConfigError where there are none."""
    return list_pictures(train_folder(domain), without=_tests(domain))


def test_pictures(domain: Path) -> list[Path]:
    """The domain's test pictures; where there are none, its training pictures, with a line in the log."""
    if tests := _tests(domain):
        return list_pictures(tests[0])
    pictures = train_pictures(domain)
    _warn_once(f"{domain} has no test/ beside its training pictures: sheets and figures are of pictures that it was trained on")
    return pictures


def paired_folders(data: Path) -> dict[str, Path]:
    """trainA/ and trainB/ in `data`, as source and target. Raises ConfigError where they are not there."""
    folders = {name: _below(data, (f"train{letter}", letter)) for name, letter in (("source", "a"), ("target", "b"))}
    if not all(folders.values()):
        raise ConfigError(f"--data {data}: it has no trainA/ and trainB/; name the two folders of pictures with --source and --target")
    return {name: found[0] for name, found in folders.items()}


def _tests(domain: Path) -> list[Path]:
    """Where a domain's test pictures are: in test/ (or val/), or in testA/ beside a trainA/."""
    absolute = Path(os.path.abspath(domain))
    if paired := re.fullmatch("train([ab])", absolute.name.lower()):
        return _below(absolute.parent, [f"{name}{paired[1]}" for name in TEST])
    return _below(domain, TEST)


def _below(folder: Path, names: Sequence[str]) -> list[Path]:
    """The folders in `folder` that have one of the names, in small letters or capitals, by the order of names."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return sorted(
        (path for path in inside if path.name.lower() in names and path.is_dir()), key=lambda path: names.index(path.name.lower())
    )


@cache
def _warn_once(message: str) -> None:
    log.warning(message)


def fingerprint(paths: Sequence[Path], root: Path) -> str:
    """A hash of what pictures these are: their names below `root`, their sizes, and their first 64 kB. Where they lie does not count."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
            digest.update(file.read(65536))
    return digest.hexdigest()


def read_pictures(paths: list[Path], shorter_side: int | None = None) -> list[Pixels]:
    """The pictures as (h, w, 3) RGB bytes, shrunk to `shorter_side`; a broken file is named and skipped.
    Raises ConfigError where none can be read."""
    with ThreadPoolExecutor() as pool:
        read = pool.map(lambda path: read_large_enough(path, shorter_side), paths)
        pictures = [pixels for pixels in read if pixels is not None]
    if not pictures:
        raise ConfigError(f"none of the {len(paths)} pictures beside {paths[0]} can be used")
    return pictures


def read_picture(path: Path, shorter_side: int | None = None, content: bytes | None = None) -> Pixels | None:
    """One picture as (h, w, 3) RGB bytes, read as the service reads it, from its file's `content` where that was read already; None,
    with a line in the log that names it, for a file that is none."""
    try:
        opened = open_picture(path.read_bytes() if content is None else content, max_pixels=None)
        sides = (opened.width, opened.height)
        return decode(opened, shorter_side and shorter_side * max(sides) / min(sides)).pixels
    except (PictureError, OSError) as error:
        too_large = isinstance(error.__cause__, MemoryError)
        log.warning("skipped %s: %s", path, "memory does not hold it: shrink it, or cut it into pieces" if too_large else error)
        return None


def read_large_enough(path: Path, shorter_side: int | None = None, content: bytes | None = None) -> Pixels | None:
    """The same; None, with a line in the log, for a picture too small to learn or judge anything by."""
    pixels = read_picture(path, shorter_side, content)
    if pixels is not None and min(pixels.shape[:2]) < SMALLEST_SIDE:
        log.warning("skipped %s: %d × %d pixels; a side has %d at least", path, pixels.shape[1], pixels.shape[0], SMALLEST_SIDE)
        return None
    return pixels


def from_bytes(pictures: Tensor) -> Tensor:
    """(n, h, w, 3) bytes to (n, 3, h, w) floats in [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_bytes(pictures: Tensor) -> Tensor:
    """(n, 3, h, w) floats in [-1, 1] to (n, h, w, 3) bytes; rounded first, since a cast truncates."""
    return ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def to_tensor(pixels: Pixels) -> Tensor:
    """(n, h, w, 3) bytes to (n, 3, h, w) floats in [-1, 1]."""
    return from_bytes(torch.tensor(pixels))


def to_pixels(pictures: Tensor) -> Pixels:
    """(n, 3, h, w) floats in [-1, 1] to (n, h, w, 3) bytes."""
    return to_bytes(pictures).cpu().numpy()


class Undecoded(Sequence[Pixels]):
    """Pictures that are decoded whenever they are asked for, from their files or from the files' bytes."""

    def __init__(self, paths: Sequence[Path], shorter_side: int, keep_bytes: bool) -> None:
        self._paths, self._shorter_side = paths, shorter_side
        self._contents = [path.read_bytes() for path in paths] if keep_bytes else None

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Pixels:  # type: ignore[override]  # no slices
        """The picture; where its file is broken, the next one that is not. Raises ConfigError where all are."""
        for i in (*range(index, len(self)), *range(index)):
            content = None if self._contents is None else self._contents[i]
            pixels = read_large_enough(self._paths[i], self._shorter_side, content)
            if pixels is not None:
                return pixels
        raise ConfigError(f"none of the {len(self)} pictures beside {self._paths[0]} can be used")


class Domain:
    """The training pictures of one domain. Which pictures a step sees, and how, follows from (seed, step) alone,
    so a resumed run goes on exactly where it stopped."""

    def __init__(
        self, pictures: Sequence[Pixels], config: TrainingConfig, stream: int, rank: int = 0, *, listed: int = 0, fingerprint: str = "",
        device: torch.device | None = None,
    ) -> None:  # fmt: skip
        self.pictures = pictures
        self.config = config
        self.listed, self.fingerprint = listed or len(pictures), fingerprint
        """Of all processes' pictures: how many there are, and their hash."""
        self._seed = (config.seed, stream, rank) if rank else (config.seed, stream)
        """Keeps the random numbers of domains and of processes apart."""
        self._on_device = [torch.tensor(pixels, device=device).permute(2, 0, 1) for pixels in pictures] if device else None
        self._order = lru_cache(2)(self._order_of)  # of this epoch and the next, which several threads ask for

    def batch(self, step: int) -> Tensor:
        """Step `step`'s (step_size, 3, crop_size, crop_size) floats in [-1, 1]."""
        size = self.config.step_size
        drawn = [self._draw(step * size + i) for i in range(size)]
        if self._on_device is not None:
            return from_bytes(torch.stack([_random_crop_on_device(self._on_device[i], self.config, random) for i, random in drawn]))
        return to_tensor(np.stack([_random_crop(self.pictures[i], self.config, random) for i, random in drawn]))

    def _draw(self, position: int) -> tuple[int, np.random.Generator]:
        """Which picture it is, and the random numbers that cut it."""
        epoch, index = divmod(position, len(self.pictures))
        return int(self._order(epoch)[index]), np.random.default_rng((*self._seed, epoch, index))

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((*self._seed, epoch)).permutation(len(self.pictures))


def _random_crop(pixels: Pixels, config: TrainingConfig, random: np.random.Generator) -> Pixels:
    """Scale, crop and flip in one: the crop's box is found in the picture's own pixels, and only it is resized. Boxes begin at whole
    pixels of the scaled picture, so that one which is not scaled stays as sharp as it is."""
    height, width = pixels.shape[:2]
    scale = min(height, width) / random.integers(*config.load_size, endpoint=True)
    left, top = (random.integers(int(side / scale + 1e-6) - config.crop_size, endpoint=True) * scale for side in (width, height))
    right, bottom = (min(start + config.crop_size * scale, side) for start, side in ((left, width), (top, height)))
    crop = Image.fromarray(pixels).resize((config.crop_size, config.crop_size), Image.Resampling.BICUBIC, box=(left, top, right, bottom))
    flipped = config.flip and random.random() < 0.5
    return np.asarray(ImageOps.mirror(crop) if flipped else crop)


def _random_crop_on_device(picture: Tensor, config: TrainingConfig, random: np.random.Generator) -> Tensor:
    """The same of (3, h, w) bytes where they are: scaled whole, which costs a GPU nothing, and cut. (crop_size, crop_size, 3)."""
    height, width = picture.shape[1:]
    scale = random.integers(*config.load_size, endpoint=True) / min(height, width)
    sides = round(height * scale), round(width * scale)
    if sides != (height, width):
        scaled = functional.interpolate(picture[None].float(), sides, mode="bicubic", antialias=True)[0]
        picture = scaled.round().clamp(0, 255).to(torch.uint8)
    left, top = (int(random.integers(side - config.crop_size, endpoint=True)) for side in sides[::-1])
    crop = picture[:, top : top + config.crop_size, left : left + config.crop_size]
    flipped = config.flip and random.random() < 0.5
    return (crop.flip(2) if flipped else crop).permute(1, 2, 0)


def load_domains(config: TrainingConfig, rank: int = 0, ranks: int = 1, device: torch.device = CPU) -> tuple[Domain, Domain]:
    """Source and target training pictures, kept as the configuration says or as memory allows: of several processes each has its
    share. Raises ConfigError."""
    listed = [train_pictures(domain) for domain in (config.source, config.target)]
    x, y = ({path.resolve() for path in paths} for paths in listed)
    if x <= y or y <= x:
        raise ConfigError("source and target hold the same pictures: name two folders that have none in common")
    shares = [paths[rank::ranks] or paths for paths in listed]
    where, size = choose_cache(config.cache, [*shares[0], *shares[1]], config.load_size[1], device)
    if where in ("bytes", "files"):
        log.warning("the pictures take %.1f GB as pixels: they are decoded anew for each step, from %s", size / 1e9, where)

    def load(stream: int, domain: Path) -> Domain:
        pictures: Sequence[Pixels]
        if where in ("bytes", "files"):
            pictures = Undecoded(shares[stream], config.load_size[1], keep_bytes=where == "bytes")
        else:
            pictures = read_pictures(shares[stream], config.load_size[1])
            if tiny := sum(min(pixels.shape[:2]) < config.crop_size for pixels in pictures):
                log.warning("%d of %d pictures in %s are smaller than crop_size and are enlarged", tiny, len(pictures), domain)
        known = fingerprint(listed[stream], train_folder(domain))
        return Domain(
            pictures, config, stream, rank, listed=len(listed[stream]), fingerprint=known, device=device if where == "device" else None
        )

    return load(0, config.source), load(1, config.target)


def batches(x: Domain, y: Domain, first: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of both domains from step `first` on, on `device`. The next are cut, in several threads, while a step computes."""
    workers = x.config.workers or min(os.cpu_count() or 1, 8)

    def cut(step: int) -> tuple[Tensor, Tensor]:
        pair = x.batch(step), y.batch(step)
        pin = device.type == "cuda" and pair[0].device.type == "cpu"
        return (pair[0].pin_memory(), pair[1].pin_memory()) if pin else pair

    with ThreadPoolExecutor(workers) as threads:
        following = deque(threads.submit(cut, step) for step in range(first, first + workers))
        for step in count(first + workers):
            of_x, of_y = following.popleft().result()
            following.append(threads.submit(cut, step))
            yield of_x.to(device, non_blocking=True), of_y.to(device, non_blocking=True)
