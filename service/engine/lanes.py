"""Batches to pixels: each lane is one session run in flight, in a thread of its own.

On a CPU there is a lane for each of its threads. A run with several threads of its own takes longer in all, since they wait
for each other at every layer; but a picture that is alone is done sooner by it.
"""

import asyncio
import re
import time
from functools import cache, partial

import numpy as np
import structlog
from numpy.typing import NDArray
from prometheus_client import Histogram

from service.engine.catalog import Catalog, Generator, Statistics
from service.engine.queue import InferenceFailed, Queue, Request
from service.engine.sessions import on_gpu
from service.engine.staging import Staging
from service.engine.threads import Threads
from service.telemetry import METRICS

log = structlog.get_logger()

OUT_OF_MEMORY = re.compile(r"MemoryError|bad_alloc|out of memory|failed to allocate", re.IGNORECASE)
"""How ONNX Runtime, CUDA and numpy say so."""


class Lanes:
    """As many as the queue was told of; they run from `start` to `stop`."""

    def __init__(self, queue: Queue, catalog: Catalog) -> None:
        self._queue = queue
        self._catalog = catalog
        self._threads = Threads(queue.lanes, "lane")
        self._running = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        METRICS.lanes.set(self._queue.lanes)
        self._tasks = [asyncio.create_task(self._run_lane(self._staging()), name=f"lane-{i}") for i in range(self._queue.lanes)]

    @property
    def alive(self) -> bool:
        """False once a lane has died."""
        return not any(task.done() for task in self._tasks)

    async def stop(self) -> None:
        """End the lanes, once the queue is drained."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.stop()

    def _staging(self) -> Staging | None:
        return Staging(self._queue.max_batch_pixels) if on_gpu(self._catalog.providers) else None

    async def _run_lane(self, staging: Staging | None) -> None:
        free_since = self._queue.clock()
        while True:
            batch = await self._queue.take()
            begun = max(free_since, batch[0].arrived)
            self._running += len(batch)
            alone = self._alone(batch)
            try:
                await self._serve(batch, alone, staging)
            except BaseException as error:
                log.error("lane died", error=repr(error))
                for request in batch:
                    _fail(request, error)
                raise
            finally:
                self._running -= len(batch)
                free_since = self._queue.clock()
                seconds = (free_since - begun) * (self._queue.lanes if alone else 1)
                self._queue.rates[batch[0].direction].add(sum(request.cost for request in batch), seconds)
                self._queue.finish(batch)

    def _alone(self, batch: list[Request]) -> bool:
        """Whether other lanes would have nothing to do on a CPU whose threads they share; tiles never come alone."""
        few = self._running + self._queue.waiting < self._queue.lanes
        return few and batch[0].statistics is None and not on_gpu(self._catalog.providers)

    async def _serve(self, batch: list[Request], alone: bool, staging: Staging | None) -> None:
        """Answer each request; a batch that fails is run again by halves, so that an error touches only its own."""
        try:
            translations = await self._run(batch, alone, staging)
        except Exception as error:
            log.warning("batch failed", direction=batch[0].direction, requests=len(batch), error=str(error))
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            if OUT_OF_MEMORY.search(repr(error)):
                self._queue.max_batch_pixels = min(self._queue.max_batch_pixels, sum(request.cost for request in batch) // 2)
                log.warning("out of memory: smaller batches from now on", max_batch_pixels=self._queue.max_batch_pixels)
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                if wanted := [request for request in half if not request.answer.done()]:
                    await self._serve(wanted, False, staging)
            return
        for request, translation in zip(batch, translations, strict=True):
            request.finished = self._queue.clock()
            if not request.answer.done():
                request.answer.set_result(translation)

    async def _run(self, batch: list[Request], alone: bool, staging: Staging | None) -> NDArray[np.uint8]:
        direction = batch[0].direction
        statistics = batch[0].statistics
        generator = statistics.generator if statistics else self._catalog.generators[direction]
        begun = time.monotonic()
        translations = await self._threads.run(partial(_translate, generator, batch, alone, staging))
        seconds = time.monotonic() - begun
        METRICS.busy_seconds.inc(seconds)
        inference_seconds, batch_requests, batch_pixels, queue_seconds = _histograms(direction)
        inference_seconds.observe(seconds)
        batch_requests.observe(len(batch))
        batch_pixels.observe(translations.size // 3)
        for request in batch:
            queue_seconds.observe(request.started - request.arrived)
        return translations


@cache
def _histograms(direction: str) -> list[Histogram]:
    histograms = (METRICS.inference_seconds, METRICS.batch_requests, METRICS.batch_pixels, METRICS.queue_seconds)
    return [histogram.labels(direction) for histogram in histograms]


def _translate(generator: Generator, batch: list[Request], alone: bool, staging: Staging | None) -> NDArray[np.uint8]:
    pictures = [request.pixels for request in batch]
    given = [request.statistics.values for request in batch if request.statistics]
    if not given:
        return generator.run(pictures, alone, staging)
    translations, used = generator.run_tiles(np.stack(pictures), np.stack(given))
    for request, values in zip(batch, used, strict=True):
        request.statistics = Statistics(generator, values)
    return translations


def _fail(request: Request, error: BaseException) -> None:
    if not request.answer.done():
        failure = InferenceFailed(str(error))
        failure.__cause__ = error
        request.answer.set_exception(failure)
