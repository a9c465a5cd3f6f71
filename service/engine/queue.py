"""Jobs to batches: one queue for all generators, with no delay to tune.

A batch is whatever of one generator and one shape gathered while the device was busy. What its client gave up on, or has
expired, leaves the queue and is never computed.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.padding import Pixels
from service.costs import FLOOR
from service.engine.generator import Generator
from service.errors import DeadlinePassed
from service.telemetry import METRICS


@dataclass(eq=False)
class Job:
    """A picture or a tile on its way through the engine. Times are of the queue's clock, in seconds."""

    generator: Generator
    pixels: Pixels
    """(h, w, 3), padded for the generator."""
    deadline: float
    arrived: float
    answer: asyncio.Future[Pixels]
    statistics: NDArray[np.float32] | None = None
    """Of a tile, (s,): those of its picture's instance norms, and afterwards those that were used."""
    started: float = field(default=math.nan)
    finished: float = field(default=math.nan)

    @property
    def group(self) -> tuple:
        return (self.generator, self.pixels.shape, self.statistics is not None)

    @property
    def cost(self) -> int:
        """In pixels."""
        return max(self.pixels.shape[0] * self.pixels.shape[1], FLOOR)


@dataclass(frozen=True)
class Translation:
    """What became of a picture."""

    pixels: Pixels
    """(h, w, 3), the size of the input."""
    queue_seconds: float
    inference_seconds: float


class Queue:
    """Waiting jobs, by group, in order of arrival; and those that lanes have taken, until they are finished."""

    def __init__(
        self, max_batch_pixels: int, lanes: int = 1, max_batch_seconds: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_batch_pixels = max_batch_pixels
        self.max_batch_seconds = max_batch_seconds
        self.lanes = lanes
        self.clock = clock
        self.pixels = 0
        """The cost of what waits or runs."""
        self._groups: dict[tuple, dict[Job, None]] = {}
        """Dictionaries as ordered sets: any job can leave at once."""
        self._free_lanes: deque[asyncio.Future[None]] = deque()
        """Those that wait for something to do, the longest first."""
        self._finished = asyncio.Event()

    @property
    def waiting(self) -> int:
        return sum(map(len, self._groups.values()))

    @property
    def idle(self) -> bool:
        return self.pixels == 0

    def submit(self, generator: Generator, pixels: Pixels, deadline: float, statistics: NDArray[np.float32] | None = None) -> Job:
        """A job whose `answer` will be its translation."""
        job = Job(generator, pixels, deadline, self.clock(), asyncio.get_running_loop().create_future(), statistics)
        self.pixels += job.cost
        self._groups.setdefault(job.group, {})[job] = None
        job.answer.add_done_callback(lambda _: self._given_up(job))
        METRICS.queue_length.inc()
        METRICS.queue_pixels.inc(job.cost)
        self._call_lane()
        return job

    async def take(self) -> list[Job]:
        """The next batch, once there is one: of the group whose oldest job has waited longest, as many as fit."""
        while not (batch := self._next_batch()):
            called = asyncio.get_running_loop().create_future()
            self._free_lanes.append(called)
            await called
        return batch

    def _call_lane(self) -> None:
        """One, not all: each would look for what the first has taken."""
        while self._free_lanes:
            called = self._free_lanes.popleft()
            if not called.done():  # cancelled
                called.set_result(None)
                return

    def _next_batch(self) -> list[Job]:
        now = self.clock()
        for job in [job for group in self._groups.values() for job in group if job.deadline <= now]:
            self._leave(job, "expired")
            if not job.answer.done():  # its client gave up in this very moment
                job.answer.set_exception(DeadlinePassed())
        if not self._groups:
            return []
        group = min(self._groups.values(), key=lambda group: next(iter(group)).arrived)
        batch = list(group)[: self._fitting(next(iter(group)))]
        for job in batch:
            self._remove(job)
            job.started = now
        return batch

    def _fitting(self, job: Job) -> int:
        """How many such make a batch."""
        seconds = job.generator.rate.seconds(job.cost)
        return max(1, int(min(self.max_batch_pixels // job.cost, self.max_batch_seconds / seconds)))

    def finish(self, batch: list[Job]) -> None:
        """The batch has left its lane."""
        for job in batch:
            self.pixels -= job.cost
            METRICS.queue_pixels.dec(job.cost)
        self._finished.set()

    def _given_up(self, job: Job) -> None:
        """Its client has gone, or its deadline came before its turn; what is answered has been taken long ago."""
        if job in self._groups.get(job.group, ()):
            self._leave(job, "expired" if job.deadline <= self.clock() else "hung_up")

    def _leave(self, job: Job, reason: str) -> None:
        """Out of the queue without having run."""
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
        """Returns once nothing waits or runs."""
        while not self.idle:
            self._finished.clear()
            await self._finished.wait()
