"""Requests to batches: one queue for all directions, with no delay to tune.

A batch is whatever of one direction and one shape gathered while the device was busy. The queue knows the measured
rate, so it refuses at the door what it could not answer in time; what its client gave up on, or has expired, leaves it
and is never computed.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from models.padding import Pixels
from service.engine.catalog import Statistics
from service.telemetry import METRICS

LEAST_COST = 64 * 64
"""In pixels: a smaller picture takes as long as one of this size."""
PUNCTUALITY = 0.7
"""Of the time until a deadline is planned with: rates vary, and the picture is still to be encoded."""
MEMORY = 0.9
"""How much of the measurements before a batch still counts after it."""


class EngineError(Exception):
    """A request that is not answered with a translation."""


class UnknownDirection(EngineError):
    def __init__(self, direction: str, directions: list[str]) -> None:
        super().__init__(direction)
        self.directions = directions


class NotReady(EngineError):
    """The generators are still being loaded."""


class Draining(EngineError):
    """The service is stopping."""


class TooLarge(EngineError):
    """More pixels than can ever be translated in time."""

    def __init__(self, pixels: int, limit: int) -> None:
        super().__init__(
            f"{pixels:,} pixels are more than this server translates at once, {limit:,}: ask for a smaller `size`, or send fewer."
        )
        self.limit = limit


class QueueFull(EngineError):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"full for {seconds:.1f} s")
        self.retry_after = max(1, math.ceil(seconds))


class DeadlinePassed(EngineError):
    """No answer in time; nothing is computed for the request any more."""


class InferenceFailed(EngineError):
    """The session failed on this very picture."""


@dataclass(eq=False)
class Request:
    """A picture on its way through the engine. Times are of the queue's clock, in seconds."""

    direction: str
    pixels: Pixels
    deadline: float
    arrived: float
    answer: asyncio.Future[Pixels]
    statistics: Statistics | None = None
    """Of a tile: those to be used, and afterwards those that were."""
    started: float = field(default=math.nan)
    finished: float = field(default=math.nan)

    @property
    def group(self) -> tuple:
        return (self.direction, self.pixels.shape, self.statistics and id(self.statistics.generator))

    @property
    def cost(self) -> int:
        return max(self.pixels.shape[0] * self.pixels.shape[1], LEAST_COST)


class Rate:
    """Measured seconds a pixel of one direction, the latest batches counting most."""

    def __init__(self, pixels: int, seconds: float) -> None:
        self._pixels, self._seconds = float(pixels), seconds

    def add(self, pixels: int, seconds: float) -> None:
        self._pixels = MEMORY * self._pixels + pixels
        self._seconds = MEMORY * self._seconds + seconds

    def seconds(self, pixels: int) -> float:
        return pixels * self._seconds / self._pixels


class Queue:
    """Waiting requests, by group, in order of arrival; and those that lanes have taken, until they are finished."""

    def __init__(
        self, max_pixels: int, max_batch_pixels: int, lanes: int = 1, max_batch_seconds: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.max_pixels = max_pixels
        self.max_batch_pixels = max_batch_pixels
        self.max_batch_seconds = max_batch_seconds
        self.lanes = lanes
        self.rates: dict[str, Rate] = {}
        """One for each direction that is taken."""
        self.clock = clock
        self._groups: dict[tuple, dict[Request, None]] = {}
        """Dictionaries as ordered sets: any request can leave at once."""
        self._pixels: dict[str, int] = {}
        """What waits or runs, by direction: the sum of the costs."""
        self._free_lanes: deque[asyncio.Future[None]] = deque()
        """Those that wait for something to do, the longest first."""
        self._finished = asyncio.Event()

    @property
    def waiting(self) -> int:
        return sum(map(len, self._groups.values()))

    @property
    def pixels(self) -> int:
        """The cost of what waits or runs."""
        return sum(self._pixels.values())

    @property
    def idle(self) -> bool:
        return self.pixels == 0

    def submit(self, direction: str, pixels: Pixels, deadline: float, statistics: Statistics | None = None) -> Request:
        """A request whose `answer` will be its translation. Raises TooLarge and QueueFull, but not for a tile: its picture was
        let in as a whole."""
        request = Request(direction, pixels, deadline, self.clock(), asyncio.get_running_loop().create_future(), statistics)
        if statistics is None:
            self._admit(request)
        self._pixels[direction] = self._pixels.get(direction, 0) + request.cost
        self._groups.setdefault(request.group, {})[request] = None
        request.answer.add_done_callback(lambda _: self._given_up(request))
        METRICS.queue_length.inc()
        METRICS.queue_pixels.inc(request.cost)
        self._call_lane()
        return request

    def _admit(self, request: Request) -> None:
        height, width, _ = request.pixels.shape
        if height * width > self.max_pixels:
            raise TooLarge(height * width, self.max_pixels)
        self.check_room(request.direction, request.deadline, request.cost)

    def check_room(self, direction: str, deadline: float, cost: int = LEAST_COST) -> None:
        """Raises QueueFull where there is no room for so many pixels more, or no time until the deadline."""
        inside = self.pixels
        if not inside:
            return
        ahead = sum(self.rates[other].seconds(pixels) for other, pixels in self._pixels.items() if pixels) / self.lanes
        excess = inside + cost - self.max_pixels
        if excess > 0:
            METRICS.rejected.labels(direction, "queue_full").inc()
            raise QueueFull(ahead * min(1, excess / inside))
        late = ahead + self.rates[direction].seconds(cost) - PUNCTUALITY * (deadline - self.clock())
        if late > 0:
            METRICS.rejected.labels(direction, "deadline").inc()
            raise QueueFull(late)

    async def take(self) -> list[Request]:
        """The next batch, once there is one: of the group whose oldest request has waited longest, as many as fit."""
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

    def _next_batch(self) -> list[Request]:
        now = self.clock()
        for request in [request for group in self._groups.values() for request in group if request.deadline <= now]:
            self._leave(request, "expired")
            request.answer.set_exception(DeadlinePassed())
        if not self._groups:
            return []
        group = min(self._groups.values(), key=lambda group: next(iter(group)).arrived)
        batch = list(group)[: self._fitting(next(iter(group)))]
        for request in batch:
            self._remove(request)
            request.started = now
        return batch

    def _fitting(self, request: Request) -> int:
        """How many such make a batch."""
        seconds = self.rates[request.direction].seconds(request.cost)
        return max(1, int(min(self.max_batch_pixels // request.cost, self.max_batch_seconds / seconds)))

    def finish(self, batch: list[Request]) -> None:
        """The batch has left its lane."""
        for request in batch:
            self._pixels[request.direction] -= request.cost
            METRICS.queue_pixels.dec(request.cost)
        self._finished.set()

    def _given_up(self, request: Request) -> None:
        """Its client has gone, or its deadline came before its turn; what is answered has been taken long ago."""
        if request in self._groups.get(request.group, ()):
            self._leave(request, "expired" if request.deadline <= self.clock() else "hung_up")

    def _leave(self, request: Request, reason: str) -> None:
        """Out of the queue without having run."""
        METRICS.rejected.labels(request.direction, reason).inc()
        self._remove(request)
        self.finish([request])

    def _remove(self, request: Request) -> None:
        group = self._groups[request.group]
        del group[request]
        if not group:
            del self._groups[request.group]
        METRICS.queue_length.dec()

    async def drained(self) -> None:
        """Returns once nothing waits or runs."""
        while not self.idle:
            self._finished.clear()
            await self._finished.wait()
