"""Sample sheets: pictures, their translations, and those translated back again."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from training.config import TrainingConfig
from training.data import Pixels, list_pictures, read_pictures, test_folder, to_pixels, to_tensor

ROWS = 4


def read_samples(config: TrainingConfig) -> tuple[Pixels, Pixels]:
    """A few test pictures of each domain, (ROWS, side, side, 3) bytes, cut square; a domain without test/ shows train/."""
    side = config.load_size[1] // 4 * 4
    return _read_square(config.source, side), _read_square(config.target, side)


def _read_square(domain: Path, side: int) -> Pixels:
    pictures = read_pictures(list_pictures(test_folder(domain))[:ROWS])
    return np.stack([np.asarray(ImageOps.fit(Image.fromarray(pixels), (side, side))) for pixels in pictures])


def save_sample_sheet(generators: Mapping[str, nn.Module], samples: tuple[Pixels, Pixels], path: Path) -> None:
    """A row a pair: x, G(x), F(G(x)), y, F(y), G(F(y)), as a JPEG."""
    device = next(generators["G"].parameters()).device
    columns = []
    with torch.no_grad():
        for pictures, there, back in ((samples[0], "G", "F"), (samples[1], "F", "G")):
            translated = generators[there](to_tensor(pictures).to(device))
            columns += [pictures, to_pixels(translated), to_pixels(generators[back](translated))]
    rows = min(len(column) for column in columns)
    sheet = np.concatenate([np.concatenate(list(column[:rows])) for column in columns], axis=1)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(sheet).save(path, quality=90)
