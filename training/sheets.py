"""Sheets: JPEG files that show pictures, their translations, and these translated back."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from torch import nn

from training.config import TrainingConfig
from training.data import Pixels, list_pictures, read_pictures, test_pictures
from training.judging.likeness import Translate
from training.sampling import translator

ROWS = 4
LARGEST_SIDE = 512
"""Largest default side in pixels of the pictures on a run's sheets: the size at which the service translates."""
JUDGED = 40
JUDGED_TILE = (256, 256)
CARD_TILE = (256, 192)
"""Width and height of a picture on a model card's sheet."""


def read_samples(config: TrainingConfig) -> tuple[Pixels, Pixels]:
    """Return a few square test pictures of each domain, (ROWS, side, side, 3) bytes."""
    side = (config.sample_size or min(config.load_size[1], LARGEST_SIDE)) // 4 * 4
    x, y = (read_pictures(test_pictures(domain)[:ROWS]) for domain in (config.source, config.target))
    return _fit(x, (side, side)), _fit(y, (side, side))


def run_sheet(generators: Mapping[str, nn.Module], samples: tuple[Pixels, Pixels]) -> bytes:
    """Return a sheet with a row for each pair: x, G(x), F(G(x)), y, F(y), G(F(y))."""
    x, y = samples
    return _jpeg([*_cycle(generators["G"], generators["F"], x), *_cycle(generators["F"], generators["G"], y)])


class CardSheet(NamedTuple):
    """The pictures for a model card, a sheet of them, and the direction of the sheet's first translation."""

    pictures: list[Pixels]
    sheet: bytes
    direction: str


def card_sheets(g: nn.Module, f: nn.Module, folder: Path, x: str, y: str) -> dict[str, CardSheet]:
    """Return sheets for the cards of both directions: `g` translates domain `x` into `y`, and `f` back.

    The pictures of a domain are those in the subfolder of its name. Without that subfolder, all pictures in `folder` are used,
    as pictures of `x`.
    """
    sheets = {}
    for source, target, there, back in ((x, y, g, f), (y, x, f, g)):
        has_own = (folder / source).is_dir()
        pictures = read_pictures(list_pictures(folder / source if has_own else folder))
        columns = _cycle(*((there, back) if has_own else (g, f)), _fit(pictures, CARD_TILE))
        sheets[f"{source}2{target}"] = CardSheet(pictures, _jpeg(columns), f"{source}2{target}" if has_own else f"{x}2{y}")
    return sheets


def judging_sheet(sources: list[Pixels], translations: list[Pixels], other: Translate | None = None) -> bytes:
    """Return a sheet of at most 40 pictures, evenly spread, two in each row: source, translation, and the translation by `other`."""
    count = min(JUDGED, len(sources) // 2 * 2)
    chosen = [i * len(sources) // count for i in range(count)]
    columns = [_fit([pictures[i] for i in chosen], JUDGED_TILE) for pictures in (sources, translations)]
    if other:
        columns.append(_fit([other(sources[i][None])[0] for i in chosen], JUDGED_TILE))
    return _jpeg([column[half::2] for half in (0, 1) for column in columns])


def precision_sheet(fp32: bytes, int8: bytes, pictures: Sequence[Pixels]) -> bytes:
    """Return a sheet with a row for each picture: x, and its translations by the ONNX files in fp32 and in INT8."""
    x = _fit(pictures, CARD_TILE)
    sessions = (onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]) for model in (fp32, int8))
    return _jpeg([x, *(session.run(None, {"pictures": x})[0] for session in sessions)])


def _fit(pictures: Sequence[Pixels], size: tuple[int, int]) -> Pixels:
    """Crop each picture to its middle and scale it to `size`. Returns (n, h, w, 3)."""
    return np.stack([np.asarray(ImageOps.fit(Image.fromarray(pixels), size, Image.Resampling.LANCZOS)) for pixels in pictures])


def _cycle(there: nn.Module, back: nn.Module, pictures: Pixels) -> list[Pixels]:
    """Return pictures, translations and these translated back. One picture at a time, to save memory."""
    translations = np.concatenate([translator(there)(picture[None]) for picture in pictures])
    return [pictures, translations, np.concatenate([translator(back)(picture[None]) for picture in translations])]


def _jpeg(columns: list[Pixels]) -> bytes:
    """Put columns of (n, h, w, 3) bytes side by side, cut to the shortest."""
    rows = min(map(len, columns))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate([np.concatenate(list(column[:rows])) for column in columns], axis=1)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
