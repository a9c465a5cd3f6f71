"""Whether a request is let in: once, as a whole, before its pictures are decoded; and how many pixels are held at once."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from operator import attrgetter
from typing import Literal

from service.costs import FLOOR, Cost, Rate, Work
from service.errors import Busy
from service.telemetry import METRICS

PUNCTUALITY = 0.7
"""How much of the time until a deadline is planned with: rates vary."""


class Admission:
    """One a process: knows all work that was let in and is not done. How long it takes is told by the rates as they are now, not as
    they were when it was let in."""

    def __init__(self, codecs: int, lanes: int) -> None:
        self._workers = {"codec": codecs, "lane": lanes}
        self._requests = 0
        self._left: Counter[tuple[Literal["codec", "lane"], Rate]] = Counter()
        """Pixels."""

    @property
    def idle(self) -> bool:
        return not self._requests

    def seconds(self, works: Sequence[Work], of: Callable[[Cost], float] = attrgetter("seconds")) -> float:
        """What they take when nothing else is done: side by side, though one picture goes from codec to lanes to codec."""
        alone = [sum(of(cost) / (self._workers["lane"] if cost.by == "lane" else 1) for cost in work.costs) for work in works]
        return max([sum(of(cost) / self._workers[cost.by] for work in works for cost in work.costs), *alone])

    def check(self, direction: str, seconds: float, works: Sequence[Work] = ()) -> None:
        """Raises Busy where `works` could not be done in so many `seconds`, after what is inside."""
        if self.idle:
            return
        inside = sum(rate.seconds(pixels) / self._workers[by] for (by, rate), pixels in self._left.items())
        late = inside + self.seconds(works) - PUNCTUALITY * seconds
        if late > 0:
            METRICS.rejected.labels(direction, "deadline").inc(max(1, len(works)))
            raise Busy(late)

    @contextmanager
    def admitted(self, direction: str, seconds: float, works: Sequence[Work]) -> Iterator[None]:
        """All of `works` are inside from now on until they are done. Raises Busy, as `check` does."""
        self.check(direction, seconds, works)
        self._requests += 1
        for cost in [cost for work in works for cost in work.costs]:
            self._left[cost.by, cost.rate] += max(cost.pixels, FLOOR)
        try:
            yield
        finally:
            self._requests -= 1
            for work in works:
                while work.costs:
                    self.done(work)

    def done(self, work: Work) -> None:
        """The next step of `work`, which is inside."""
        by, rate, pixels = work.costs.pop(0)
        self._left[by, rate] -= max(pixels, FLOOR)
        if not self._left[by, rate]:
            del self._left[by, rate]


class PixelBudget:
    """Bounds how many pixels are held at once. They come in in the order in which they ask; what is larger than all comes alone."""

    def __init__(self, pixels: int) -> None:
        self._free = self._all = pixels
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        pixels = min(pixels, self._all)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, turn))
        self._let_in()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._free += pixels
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            pixels, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= pixels
                turn.set_result(None)
