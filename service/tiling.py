"""Pictures that are too large to be translated at once go through everyone's queue in tiles, a few at a time."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from models import padding
from models.padding import Pixels, padded_side
from pictures.tiles import Canvas, Tile, cut, thumbnail
from service.engine.engine import Engine, Translation
from service.engine.queue import QueueFull
from service.engine.threads import Threads
from service.settings import Settings
from service.telemetry import METRICS


class Tiler:
    """One a process. Cuts, shrinks and blends in `codecs`."""

    def __init__(self, settings: Settings, engine: Engine, codecs: Threads) -> None:
        self._settings = settings
        self._engine = engine
        self._codecs = codecs
        self._under_way = 0
        """Pixels of the pictures that are being translated in tiles."""

    async def translate(self, direction: str, pixels: Pixels, deadline: float) -> Translation:
        """As Engine.translate, and raises the same, with pictures above the batch budget in tiles. Where a bundle has no graph
        for tiles, its pictures run whole."""
        generator = self._engine.generator(direction)
        fits = generator.bundle.version.multiple, generator.bundle.version.smallest_side
        height, width = (padded_side(side, *fits) for side in pixels.shape[:2])
        if height * width <= self._settings.max_batch_pixels or generator.tiling is None:
            return await self._engine.translate(direction, pixels, deadline)

        with self._admitted(direction, height * width, deadline):
            small = await self._codecs.run(partial(thumbnail, pixels, self._settings.max_batch_pixels, fits[1]))
            whole, statistics = await self._engine.translate_tile(generator.own_statistics, small, deadline)
            padded = await self._codecs.run(partial(padding.pad, pixels, *fits))
            canvas, translations, blending = Canvas(height, width), [whole], asyncio.Lock()

            async def blend(tile: Tile, translated: Pixels) -> None:
                async with blending:
                    await self._codecs.run(partial(canvas.add, tile, translated))

            async def paint(tiles: Iterator[Tile]) -> None:
                for tile in tiles:
                    translation, _ = await self._engine.translate_tile(statistics, padded[tile.rows, tile.columns], deadline)
                    translations.append(translation)
                    tasks.create_task(blend(tile, translation.pixels))

            tiles = iter(cut(height, width, *fits))
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(self._engine.queue.lanes):  # what comes from others meanwhile is next in the queue
                        tasks.create_task(paint(tiles))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
            return Translation(
                padding.crop(await self._codecs.run(canvas.pixels), *pixels.shape[:2]),
                sum(translation.queue_seconds for translation in translations),
                sum(translation.inference_seconds for translation in translations),
            )

    @contextmanager
    def _admitted(self, direction: str, pixels: int, deadline: float) -> Iterator[None]:
        """The tiles of a picture that was let in are not refused one by one. Raises QueueFull where large pictures that are
        under way leave no room or no time; the first is always let in."""
        if self._under_way:
            seconds = self._engine.queue.rates[direction].seconds
            excess = self._under_way + pixels - self._settings.max_pixels
            late = seconds(self._under_way + pixels) / self._engine.queue.lanes - (deadline - time.monotonic())
            if excess > 0 or late > 0:
                METRICS.rejected.labels(direction, "queue_full" if excess > 0 else "deadline").inc()
                raise QueueFull(max(late, seconds(min(excess, self._under_way))))
        self._under_way += pixels
        try:
            yield
        finally:
            self._under_way -= pixels
