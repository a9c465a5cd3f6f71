"""The queue turns jobs into batches. All generators share it, and no batch waits for more jobs.

A batch is whatever arrived for one generator and one shape while the device was busy. Jobs whose client has disconnected or whose deadline
has passed leave the queue and are never computed.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.padding import Pixels
from service.costs import FLOOR
from service.engine.generator import Generator
from service.errors import DeadlinePassed
from service.telemetry import METRICS


@dataclass(eq=False)
class Job:
    """A picture or a tile that the engine is to translate. Times are values of the queue's clock, in seconds."""

    generator: Generator
    pixels: Pixels  # (h, w, 3), padded for the generator
    deadline: float
    arrived: float
    answer: asyncio.Future[Pixels]
    statistics: NDArray[np.float32] | None = None  # (s,), of a tile's whole picture; after the run, those that were used
    started: float = math.nan
    finished: float = math.nan

    @property
    def group(self) -> tuple:
        return (self.generator, self.pixels.shape, self.statistics is not None)

    @property
    def cost(self) -> int:
        """Cost in pixels."""
        return max(self.pixels.shape[0] * self.pixels.shape[1], FLOOR)


@dataclass(frozen=True)
class Translation:
    """A translated picture, of the size of the input."""

    pixels: Pixels  # (h, w, 3)
    queue_seconds: float
    inference_seconds: float


class Queue:
    """Waiting jobs by group, in order of arrival, and a count of the jobs that the lanes are running."""

    def __init__(
        self, max_batch_pixels: int, lanes: int = 1, max_batch_seconds: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_batch_pixels = max_batch_pixels
        self.max_batch_seconds = max_batch_seconds
        self.lanes = lanes
        self.clock = clock
        self.pixels = 0  # cost of all jobs that wait or run
        self._groups: dict[tuple, dict[Job, None]] = {}  # a dict as an ordered set lets any job leave quickly
        self._submitted = asyncio.Event()
        self._finished = asyncio.Event()

    @property
    def waiting(self) -> int:
        return sum(map(len, self._groups.values()))

    @property
    def idle(self) -> bool:
        return self.pixels == 0

    def submit(self, generator: Generator, pixels: Pixels, deadline: float, statistics: NDArray[np.float32] | None = None) -> Job:
        """Add a job, whose `answer` will be the translation."""
        job = Job(generator, pixels, deadline, self.clock(), asyncio.get_running_loop().create_future(), statistics)
        self.pixels += job.cost
        self._groups.setdefault(job.group, {})[job] = None
        job.answer.add_done_callback(lambda _: self._on_answer_done(job))
        METRICS.queue_length.inc()
        METRICS.queue_pixels.inc(job.cost)
        self._submitted.set()
        return job

    async def take(self) -> list[Job]:
        """Wait for the next batch: as many jobs as fit from the group whose oldest job has waited longest."""
        while not (batch := self._next_batch()):
            self._submitted.clear()
            await self._submitted.wait()
        return batch

    def _next_batch(self) -> list[Job]:
        now = self.clock()
        for job in [job for group in self._groups.values() for job in group if job.deadline <= now]:
            self._reject(job, "expired")
            if not job.answer.done():  # its client may have disconnected at this very moment
                job.answer.set_exception(DeadlinePassed())
        if not self._groups:
            return []
        group = min(self._groups.values(), key=lambda group: next(iter(group)).arrived)
        batch = list(group)[: self._batch_size(next(iter(group)))]
        for job in batch:
            self._remove(job)
            job.started = now
        return batch

    def _batch_size(self, job: Job) -> int:
        """Return how many jobs like this one make a batch."""
        seconds = job.generator.rate.seconds(job.cost)
        return max(1, int(min(self.max_batch_pixels // job.cost, self.max_batch_seconds / seconds)))

    def finish(self, batch: list[Job]) -> None:
        """Note that a lane has finished the batch."""
        for job in batch:
            self.pixels -= job.cost
            METRICS.queue_pixels.dec(job.cost)
        self._finished.set()

    def _on_answer_done(self, job: Job) -> None:
        """Reject a job that was cancelled while it waited. Jobs that have an answer left the queue before."""
        if job in self._groups.get(job.group, ()):
            self._reject(job, "expired" if job.deadline <= self.clock() else "hung_up")

    def _reject(self, job: Job, reason: str) -> None:
        METRICS.rejected.labels(job.generator.direction, reason).inc()
        self._remove(job)
        self.finish([job])

    def _remove(self, job: Job) -> None:
        group = self._groups[job.group]
        del group[job]
        if not group:
            del self._groups[job.group]
        METRICS.queue_length.dec()

    async def drained(self) -> None:
        """Wait until no job waits or runs."""
        while not self.idle:
            self._finished.clear()
            await self._finished.wait()
