"""Admission: whether there is time for a request, decided once, before its pictures are decoded; and a limit on pixels in memory."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Literal

from service.costs import FLOOR, Rate, Work
from service.errors import Busy
from service.telemetry import METRICS

PUNCTUALITY = 0.7  # plan with this part of the time until a deadline, since rates vary


class Admission:
    """Tracks the admitted work of the process that is not done. Durations follow from current rates, not from those at admission."""

    def __init__(self, codecs: int, lanes: int) -> None:
        self._workers = {"codec": codecs, "lane": lanes}
        self._requests = 0
        self._pending: Counter[tuple[Literal["codec", "lane"], Rate]] = Counter()  # in pixels

    @property
    def idle(self) -> bool:
        return not self._requests

    def seconds(self, works: Sequence[Work], best: bool = False) -> float:
        """Return how long `works` take on an idle machine, at its current or best speed. Pictures run in parallel, but the steps of one
        picture follow each other."""
        each = [sum(cost.seconds(best) / (self._workers["lane"] if cost.by == "lane" else 1) for cost in work.costs) for work in works]
        return max([sum(cost.seconds(best) / self._workers[cost.by] for work in works for cost in work.costs), *each])

    def check(self, direction: str, seconds: float, works: Sequence[Work] = ()) -> None:
        """Raise Busy if `works`, after all admitted work, would take longer than `seconds`."""
        if self.idle:
            return
        pending = sum(rate.seconds(pixels) / self._workers[by] for (by, rate), pixels in self._pending.items())
        excess = pending + self.seconds(works) - PUNCTUALITY * seconds
        if excess > 0:
            METRICS.rejected.labels(direction, "deadline").inc(max(1, len(works)))
            raise Busy(excess)

    @contextmanager
    def admitted(self, direction: str, seconds: float, works: Sequence[Work]) -> Iterator[None]:
        """Admit all of `works` until they are done or the context ends. Raises Busy like `check`."""
        self.check(direction, seconds, works)
        self._requests += 1
        for cost in [cost for work in works for cost in work.costs]:
            self._pending[cost.by, cost.rate] += max(cost.pixels, FLOOR)
        try:
            yield
        finally:
            self._requests -= 1
            for work in works:
                while work.costs:
                    self.done(work)

    def done(self, work: Work) -> None:
        """Remove the next step of `work`, which must be admitted."""
        by, rate, pixels = work.costs.pop(0)
        self._pending[by, rate] -= max(pixels, FLOOR)
        if not self._pending[by, rate]:
            del self._pending[by, rate]


class PixelBudget:
    """Limits how many pixels are in memory at once, first come, first served. A picture larger than the budget is admitted alone."""

    def __init__(self, pixels: int) -> None:
        self._free = self._total = pixels
        self._turn = asyncio.Lock()
        self._released = asyncio.Event()

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        pixels = min(pixels, self._total)
        async with self._turn:  # the lock's order is first come, first served
            while self._free < pixels:
                self._released.clear()
                await self._released.wait()
            self._free -= pixels
        try:
            yield
        finally:
            self._free += pixels
            self._released.set()
