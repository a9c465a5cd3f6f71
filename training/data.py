"""Two unpaired domains: each a folder of pictures, decoded once and kept, cropped anew for every step."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from models.padding import Pixels
from pictures.decode import decode, open_picture
from pictures.errors import PictureError
from pictures.identify import SUFFIXES
from training.config import ConfigError, TrainingConfig

log = logging.getLogger(__name__)


def list_pictures(folder: Path) -> list[Path]:
    """The picture files in `folder` and below, in a fixed order. Raises ConfigError where there are none."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: a domain is a folder with train/ and test/ in it")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ConfigError(f"{folder} holds no pictures")
    return paths


def train_folder(domain: Path) -> Path:
    """Where a domain's training pictures are: in train/ where there is one, else in the folder itself."""
    return domain / "train" if (domain / "train").is_dir() else domain


def test_folder(domain: Path) -> Path:
    """A domain's test pictures: test/, or testA/ beside a trainA/; where there are none, its training pictures."""
    beside = domain.resolve().with_name(domain.resolve().name.replace("train", "test"))
    tests = beside if domain.resolve().name in ("trainA", "trainB") else domain / "test"
    return tests if tests.is_dir() else train_folder(domain)


def read_pictures(paths: list[Path], shorter_side: int | None = None) -> list[Pixels]:
    """The pictures as (h, w, 3) RGB bytes, shrunk to `shorter_side`; a broken file is named and skipped.
    Raises ConfigError where none can be read."""
    with ThreadPoolExecutor() as pool:
        read = pool.map(lambda path: read_picture(path, shorter_side), paths)
        pictures = [pixels for pixels in read if pixels is not None]
    if not pictures:
        raise ConfigError(f"none of the {len(paths)} pictures beside {paths[0]} can be read")
    return pictures


def read_picture(path: Path, shorter_side: int | None = None) -> Pixels | None:
    """One picture as (h, w, 3) RGB bytes, read as the service reads it; None, with a line in the log that names it, for a file that is
    none."""
    try:
        opened = open_picture(path, max_pixels=None)
        sides = (opened.width, opened.height)
        return decode(opened, shorter_side and shorter_side * max(sides) / min(sides)).pixels
    except (PictureError, OSError) as error:
        log.warning("skipped %s", error)
        return None


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


class Domain:
    """The training pictures of one domain. Which pictures a step sees, and how, follows from (seed, step) alone,
    so a resumed run goes on exactly where it stopped."""

    def __init__(self, pictures: list[Pixels], config: TrainingConfig, stream: int, rank: int = 0, ranks: int = 1) -> None:
        self.pictures = pictures
        self.config = config
        self.stream = stream
        """Keeps the random numbers of the two domains apart."""
        self.rank, self.ranks = rank, ranks
        """Of several processes each takes its share of a batch that is `ranks` times as large."""
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def batch(self, step: int) -> Tensor:
        """Step `step`'s (batch_size, 3, crop_size, crop_size) floats in [-1, 1]."""
        first = (step * self.ranks + self.rank) * self.config.batch_size
        return to_tensor(np.stack([self._sample(first + i) for i in range(self.config.batch_size)]))

    def _sample(self, position: int) -> Pixels:
        epoch, index = divmod(position, len(self.pictures))
        if epoch != self._epoch:
            self._order = np.random.default_rng((self.config.seed, self.stream, epoch)).permutation(len(self.pictures))
            self._epoch = epoch
        random = np.random.default_rng((self.config.seed, self.stream, epoch, index))
        return _random_crop(self.pictures[self._order[index]], self.config, random)


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


def load_domains(config: TrainingConfig, rank: int = 0, ranks: int = 1) -> tuple[Domain, Domain]:
    """Source and target training pictures, decoded and kept."""
    x, y = (read_pictures(list_pictures(train_folder(domain)), config.load_size[1]) for domain in (config.source, config.target))
    return Domain(x, config, 0, rank, ranks), Domain(y, config, 1, rank, ranks)


def batches(x: Domain, y: Domain, first: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of both domains from step `first` on, on `device`. The next is cut while the step before it computes."""

    def cut(step: int) -> tuple[Tensor, Tensor]:
        pair = x.batch(step), y.batch(step)
        return (pair[0].pin_memory(), pair[1].pin_memory()) if device.type == "cuda" else pair

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(cut, first)
        for step in count(first + 1):
            of_x, of_y = following.result()
            following = thread.submit(cut, step)
            yield of_x.to(device, non_blocking=True), of_y.to(device, non_blocking=True)
