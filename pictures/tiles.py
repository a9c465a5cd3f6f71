"""A picture that is too large to be translated at once: its thumbnail, its tiles, and their translations blended again."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.padding import Pixels, padded_side

SIDE = 640
"""Of a tile, in pixels: small enough that other requests do not wait long for one."""
OVERLAP = 128
"""Least overlap of neighbours; a ResNet's pixel depends on some 60 around it (6 blocks) to 90 (9 blocks)."""
RAMP = 32
"""Width of the stripe in the middle of an overlap in which one tile passes into the next."""
ONE = 256
"""The weight 1, in the canvas's fixed point."""


@dataclass(frozen=True)
class Tile:
    """Where a tile lies in its picture, and how much each of its rows and columns counts there."""

    rows: slice
    columns: slice
    row_weights: NDArray[np.float32]
    column_weights: NDArray[np.float32]


def cut(height: int, width: int, multiple: int, smallest: int) -> list[Tile]:
    """Tiles of one size that cover `height` × `width`, both multiples of `multiple`. At each pixel their weights add to 1."""
    side = padded_side(SIDE, multiple, smallest)
    down, across = _along(height, side, multiple), _along(width, side, multiple)
    return [Tile(rows, columns, down_weights, across_weights) for rows, down_weights in down for columns, across_weights in across]


def _along(length: int, side: int, multiple: int) -> list[tuple[slice, NDArray[np.float32]]]:
    side = min(side, length)
    taken = OVERLAP + multiple  # a start is moved by up to half a multiple either way
    count = 1 if side == length else math.ceil((length - taken) / (side - taken))
    starts = [round(i * (length - side) / max(1, count - 1) / multiple) * multiple for i in range(count)]
    middles = [start + (before + side - start) / 2 for before, start in itertools.pairwise(starts)]
    at = np.arange(length, dtype=np.float32) + 0.5
    rises = [np.ones_like(at), *(np.clip((at - middle) / RAMP + 0.5, 0, 1) for middle in middles), np.zeros_like(at)]
    weights = [rise - next_rise for rise, next_rise in itertools.pairwise(rises)]
    return [(slice(start, start + side), weight[start : start + side]) for start, weight in zip(starts, weights, strict=True)]


class Canvas:
    """Translated tiles become a picture again, in any order. 6 bytes a pixel."""

    def __init__(self, height: int, width: int) -> None:
        self._sums = np.zeros((height, width, 3), np.uint16)

    def add(self, tile: Tile, translation: Pixels) -> None:
        weights = tile.row_weights[:, None, None] * tile.column_weights[None, :, None] * ONE
        self._sums[tile.rows, tile.columns] += np.rint(translation * weights).astype(np.uint16)

    def pixels(self) -> Pixels:
        """(h, w, 3), once every tile has been added."""
        picture = np.empty(self._sums.shape, np.uint8)
        for rows in _strips(len(picture)):
            picture[rows] = (self._sums[rows] + ONE // 2) // ONE
        return picture


def _strips(height: int) -> Iterator[slice]:
    return (slice(top, top + SIDE) for top in range(0, height, SIDE))


def thumbnail(pixels: Pixels, max_pixels: int, smallest: int) -> Pixels:
    """`pixels`, (h, w, 3), shrunk to no more than `max_pixels`; no side is shorter than `smallest`."""
    height, width = pixels.shape[:2]
    scale = math.sqrt(max_pixels / (height * width))
    shorter = max(smallest, int(min(height, width) * scale))
    longer = max(smallest, min(int(max(height, width) * scale), max_pixels // shorter))
    size = (shorter, longer) if width < height else (longer, shorter)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
