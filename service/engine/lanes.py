"""Lanes run batches. Each lane has one session run in flight, in a thread of its own.

On a CPU there is a lane for each thread. A run with several threads takes more CPU time in total, since they wait for each other at every
layer, but it finishes a picture that is alone sooner.
"""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import structlog
from numpy.typing import NDArray

from service.engine.queue import Job, Queue
from service.engine.sessions import CPU
from service.errors import InferenceFailed
from service.telemetry import METRICS

log = structlog.get_logger()

OUT_OF_MEMORY = re.compile(r"MemoryError|bad_alloc|out of memory|failed to allocate", re.IGNORECASE)  # in ONNX Runtime, CUDA and numpy


class Lanes:
    """The queue's lanes, spread over `devices` GPUs."""

    def __init__(self, queue: Queue, devices: int = 1) -> None:
        self._queue = queue
        self._devices = devices
        self._threads = ThreadPoolExecutor(queue.lanes, "lane")
        self._running = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the lanes; later calls do nothing."""
        METRICS.lanes.set(self._queue.lanes)
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._run_lane(i % self._devices), name=f"lane-{i}") for i in range(self._queue.lanes)]

    @property
    def alive(self) -> bool:
        """False once a lane has died."""
        return not any(task.done() for task in self._tasks)

    async def stop(self) -> None:
        """Stop the lanes. Drain the queue first."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False)

    async def _run_lane(self, device: int) -> None:
        free_since = self._queue.clock()
        while True:
            batch = await self._queue.take()
            started_at = max(free_since, batch[0].arrived)
            self._running += len(batch)
            alone = self._is_alone(batch)
            try:
                await self._answer(batch, alone, device)
            except BaseException as error:
                for job in batch:
                    _fail(job, error)
                log.error("lane died", error=repr(error))
                raise
            finally:
                self._running -= len(batch)
                free_since = self._queue.clock()
                seconds = (free_since - started_at) * (self._queue.lanes if alone else 1)
                batch[0].generator.rate.add(sum(job.cost for job in batch), seconds)
                self._queue.finish(batch)

    def _is_alone(self, batch: list[Job]) -> bool:
        """Return whether other lanes on a CPU would be idle, so the batch can use their threads. Tiles are never alone."""
        few = self._running + self._queue.waiting < self._queue.lanes
        return few and batch[0].statistics is None and batch[0].generator.provider == CPU

    async def _answer(self, batch: list[Job], alone: bool, device: int) -> None:
        """Answer each job. If a batch fails, run its halves again, so that an error only reaches the job that caused it."""
        try:
            translations = await self._run(batch, alone, device)
        except Exception as error:
            log.warning("batch failed", direction=batch[0].generator.direction, pictures=len(batch), error=str(error))
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            if OUT_OF_MEMORY.search(repr(error)):
                self._queue.max_batch_pixels = min(self._queue.max_batch_pixels, sum(job.cost for job in batch) // 2)
                log.warning("out of memory: smaller batches from now on", max_batch_pixels=self._queue.max_batch_pixels)
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                if unanswered := [job for job in half if not job.answer.done()]:
                    await self._answer(unanswered, False, device)
            return
        for job, translation in zip(batch, translations, strict=True):
            job.finished = self._queue.clock()
            if not job.answer.done():
                job.answer.set_result(translation)

    async def _run(self, batch: list[Job], alone: bool, device: int) -> NDArray[np.uint8]:
        started_at = self._queue.clock()
        translations = await asyncio.get_running_loop().run_in_executor(self._threads, _translate, batch, alone, device)
        seconds, direction, version = self._queue.clock() - started_at, batch[0].generator.direction, batch[0].generator.version
        METRICS.busy_seconds.inc(seconds)
        METRICS.inference_seconds.labels(direction, version).observe(seconds)
        METRICS.batch_requests.labels(direction, version).observe(len(batch))
        METRICS.batch_pixels.labels(direction).observe(translations.size // 3)
        for job in batch:
            METRICS.queue_seconds.labels(direction).observe(job.started - job.arrived)
        return translations


def _translate(batch: list[Job], alone: bool, device: int) -> NDArray[np.uint8]:
    generator, pictures = batch[0].generator, [job.pixels for job in batch]
    statistics = [job.statistics for job in batch if job.statistics is not None]
    if not statistics:
        return generator.run(pictures, alone, device)
    translations, used = generator.run_tiles(pictures, statistics, device)
    for job, row in zip(batch, used, strict=True):
        job.statistics = row
    return translations


def _fail(job: Job, error: BaseException) -> None:
    if not job.answer.done():
        failure = InferenceFailed()
        failure.__cause__ = error
        job.answer.set_exception(failure)
