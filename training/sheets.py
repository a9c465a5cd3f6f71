"""Sample sheets: pictures, their translations, and those translated back again, as JPEG files."""

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
"""In pixels, of a sheet's pictures where the configuration does not say: what pictures are translated at when they are served."""
JUDGED = 40
JUDGED_TILE = (256, 256)
CARD_TILE = (256, 192)
"""Width and height of a picture on a model card's sheet."""


def read_samples(config: TrainingConfig) -> tuple[Pixels, Pixels]:
    """A few test pictures of each domain, (ROWS, side, side, 3) bytes, cut square."""
    side = (config.sample_size or min(config.load_size[1], LARGEST_SIDE)) // 4 * 4
    x, y = (read_pictures(test_pictures(domain)[:ROWS]) for domain in (config.source, config.target))
    return _cut(x, (side, side)), _cut(y, (side, side))


def run_sheet(generators: Mapping[str, nn.Module], samples: tuple[Pixels, Pixels]) -> bytes:
    """A row a pair: x, G(x), F(G(x)), y, F(y), G(F(y))."""
    x, y = samples
    return _jpeg([*_there_and_back(generators["G"], generators["F"], x), *_there_and_back(generators["F"], generators["G"], y)])


class Shown(NamedTuple):
    """What a card shows: pictures, a sheet of them there and back, and the direction that leads there."""

    pictures: list[Pixels]
    sheet: bytes
    direction: str


def card_sheets(g: nn.Module, f: nn.Module, folder: Path, x: str, y: str) -> dict[str, Shown]:
    """For the card of each direction, of `g` from domain `x` to `y` and of `f` back: pictures of the domain that it leads from, in the
    folder in `folder` that is named like it; where there is none, all pictures there, as ones of domain `x`."""
    shown = {}
    for source, target, there, back in ((x, y, g, f), (y, x, f, g)):
        own = (folder / source).is_dir()
        pictures = read_pictures(list_pictures(folder / source if own else folder))
        columns = _there_and_back(*((there, back) if own else (g, f)), _cut(pictures, CARD_TILE))
        shown[f"{source}2{target}"] = Shown(pictures, _jpeg(columns), f"{source}2{target}" if own else f"{x}2{y}")
    return shown


def judging_sheet(sources: list[Pixels], translations: list[Pixels], other: Translate | None = None) -> bytes:
    """At most 40 pictures, evenly spread, two a row: each source, its translation, and what `other` makes of it."""
    count = min(JUDGED, len(sources) // 2 * 2)
    chosen = [i * len(sources) // count for i in range(count)]
    columns = [_cut([part[i] for i in chosen], JUDGED_TILE) for part in (sources, translations)]
    if other:
        columns.append(_cut([other(sources[i][None])[0] for i in chosen], JUDGED_TILE))
    return _jpeg([column[half::2] for half in (0, 1) for column in columns])


def precision_sheet(fp32: bytes, int8: bytes, pictures: Sequence[Pixels]) -> bytes:
    """A row a picture: x, what the ONNX file makes of it in fp32, and in INT8."""
    cut = _cut(pictures, CARD_TILE)
    sessions = (onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]) for model in (fp32, int8))
    return _jpeg([cut, *(session.run(None, {"pictures": cut})[0] for session in sessions)])


def _cut(pictures: Sequence[Pixels], size: tuple[int, int]) -> Pixels:
    """The middle of each, at one size: (n, h, w, 3)."""
    return np.stack([np.asarray(ImageOps.fit(Image.fromarray(pixels), size, Image.Resampling.LANCZOS)) for pixels in pictures])


def _there_and_back(there: nn.Module, back: nn.Module, pictures: Pixels) -> list[Pixels]:
    """One after another, which takes less memory than all at once."""
    translations = np.concatenate([translator(there)(picture[None]) for picture in pictures])
    return [pictures, translations, np.concatenate([translator(back)(picture[None]) for picture in translations])]


def _jpeg(columns: list[Pixels]) -> bytes:
    """Columns of (n, h, w, 3) bytes side by side, as many rows as all of them have."""
    rows = min(map(len, columns))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate([np.concatenate(list(column[:rows])) for column in columns], axis=1)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
