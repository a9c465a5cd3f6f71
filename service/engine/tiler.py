"""Translate a picture that is too large for one run: thumbnail first, then tiles, whose translations are blended.

The thumbnail gives the statistics of the whole picture's instance norms. With them, each tile is translated as if the rest of the picture
were around it. Tiles share the queue with all other jobs, and only a few of them wait in it at a time.
"""

import asyncio
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import padding
from models.padding import Pixels, padded_side
from service.costs import FLOOR
from service.engine.generator import Generator
from service.engine.queue import Queue, Translation

SIDE = 640  # of a tile, in pixels: small enough that other requests do not wait long for one
OVERLAP = 128  # smallest overlap of two tiles; a ResNet's pixel depends on those within about 60 (6 blocks) to 90 (9 blocks) pixels
RAMP = 32  # width of the stripe, in the middle of an overlap, in which one tile fades into the next
ONE = 256  # the weight 1 in the canvas's fixed-point numbers


def count_tile_pixels(generator: Generator, height: int, width: int) -> int:
    """Return the number of pixels in all tiles of a padded picture, more than it has, since tiles overlap."""
    version = generator.bundle.version
    side = padded_side(SIDE, version.multiple, version.smallest_side)
    tiles = _count(height, side, version.multiple) * _count(width, side, version.multiple)
    return tiles * max(min(side, height) * min(side, width), FLOOR)


async def translate_in_tiles(queue: Queue, generator: Generator, pixels: Pixels, deadline: float) -> Translation:
    """Translate `pixels`, (h, w, 3), of a picture that is too large for one run. Raises Problem."""
    version = generator.bundle.version
    constraints = version.multiple, version.smallest_side
    queue_seconds, inference_seconds = 0.0, 0.0

    async def run(part: Pixels, statistics: NDArray[np.float32]) -> tuple[Pixels, NDArray[np.float32]]:
        nonlocal queue_seconds, inference_seconds
        job = queue.submit(generator, part, deadline, statistics)
        translated = await job.answer
        queue_seconds += job.started - job.arrived
        inference_seconds += job.finished - job.started
        assert job.statistics is not None
        return translated, job.statistics

    async def blend(tile: Tile, translated: Pixels) -> None:
        async with blending:
            await asyncio.to_thread(canvas.add, tile, translated)

    async def translate(tiles: Iterator[Tile]) -> None:
        for tile in tiles:
            translated, _ = await run(padded[tile.rows, tile.columns], statistics)
            tasks.create_task(blend(tile, translated))

    small = await asyncio.to_thread(thumbnail, pixels, queue.max_batch_pixels, version.smallest_side)
    _, statistics = await run(padding.pad(small, *constraints), generator.own_statistics)
    padded = await asyncio.to_thread(padding.pad, pixels, *constraints)
    height, width = padded.shape[:2]
    canvas, blending, tiles = Canvas(height, width), asyncio.Lock(), cut(height, width, *constraints)
    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(queue.lanes):  # one tile for each lane at a time, so that other jobs come next
                tasks.create_task(translate(tiles))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    whole = await asyncio.to_thread(canvas.pixels)
    return Translation(padding.crop(whole, *pixels.shape[:2]), queue_seconds, inference_seconds)


@dataclass(frozen=True)
class Tile:
    """The position of a tile in its picture, and the blending weights of its rows and columns."""

    rows: slice
    columns: slice
    row_weights: NDArray[np.float32]
    column_weights: NDArray[np.float32]


def cut(height: int, width: int, multiple: int, smallest: int) -> Iterator[Tile]:
    """Yield tiles of one size that cover `height` × `width`, both multiples of `multiple`. The weights at each pixel add up to 1."""
    side = padded_side(SIDE, multiple, smallest)
    for rows, row_weights in _cut_side(height, side, multiple):
        for columns, column_weights in _cut_side(width, side, multiple):
            yield Tile(rows, columns, row_weights, column_weights)


def _cut_side(length: int, side: int, multiple: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    side, count = min(side, length), _count(length, side, multiple)
    starts = [round(i * (length - side) / max(1, count - 1) / multiple) * multiple for i in range(count)]
    middles = [start + (before + side - start) / 2 for before, start in itertools.pairwise(starts)]
    for start, rise, fall in zip(starts, [-math.inf, *middles], [*middles, math.inf], strict=True):
        positions = np.arange(start, start + side, dtype=np.float32) + 0.5
        yield slice(start, start + side), _ramp(positions, rise) - _ramp(positions, fall)


def _ramp(positions: NDArray[np.float32], middle: float) -> NDArray[np.float32]:
    """Return weights that rise from 0 to 1 around `middle`."""
    return np.clip((positions - middle) / RAMP + 0.5, 0, 1)


def _count(length: int, side: int, multiple: int) -> int:
    """Return the number of tiles along a side of a picture."""
    overlap = OVERLAP + multiple  # rounding moves each start by up to half a multiple
    return 1 if side >= length else math.ceil((length - overlap) / (side - overlap))


class Canvas:
    """Blends translated tiles, added in any order. Takes 6 bytes a pixel."""

    def __init__(self, height: int, width: int) -> None:
        self._sums = np.zeros((height, width, 3), np.uint16)

    def add(self, tile: Tile, translation: Pixels) -> None:
        weights = tile.row_weights[:, None, None] * tile.column_weights[None, :, None] * ONE
        self._sums[tile.rows, tile.columns] += np.rint(translation * weights).astype(np.uint16)

    def pixels(self) -> Pixels:
        """Return the picture, (h, w, 3), after every tile has been added."""
        picture = np.empty(self._sums.shape, np.uint8)
        for top in range(0, len(picture), SIDE):  # in strips, to save memory
            rows = slice(top, top + SIDE)
            picture[rows] = (self._sums[rows] + ONE // 2) // ONE
        return picture


def thumbnail(pixels: Pixels, max_pixels: int, smallest: int) -> Pixels:
    """Shrink `pixels`, (h, w, 3), to at most `max_pixels`, with no side shorter than `smallest`."""
    height, width = pixels.shape[:2]
    scale = math.sqrt(max_pixels / (height * width))
    shorter = max(smallest, int(min(height, width) * scale))
    longer = max(smallest, min(int(max(height, width) * scale), max_pixels // shorter))
    size = (shorter, longer) if width < height else (longer, shorter)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
