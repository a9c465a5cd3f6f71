"""Whether a request is let in: once, as a whole, before its pictures are decoded; and how many pixels are held at once."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from service.costs import Work
from service.errors import Busy
from service.telemetry import METRICS

PUNCTUALITY = 0.7
"""How much of the time until a deadline is planned with: rates vary."""


class Admission:
    """One a process: knows all work that was let in and is not done."""

    def __init__(self, codecs: int, lanes: int) -> None:
        self._codecs = codecs
        self._lanes = lanes
        self._inside: set[Work] = set()

    @property
    def idle(self) -> bool:
        return not self._inside

    def seconds(self, works: Sequence[Work]) -> float:
        """What they take when nothing else is done: side by side, though one picture goes from codec to lanes to codec."""
        together = self._added(works)
        return max([together, *(work.decoding + work.inference / self._lanes + work.encoding for work in works)])

    def check(self, direction: str, seconds: float, works: Sequence[Work] = ()) -> None:
        """Raises Busy where `works` could not be done in so many `seconds`, after what is inside."""
        if not self._inside:
            return
        late = self._added(self._inside) + self.seconds(works) - PUNCTUALITY * seconds
        if late > 0:
            METRICS.rejected.labels(direction, "deadline").inc(max(1, len(works)))
            raise Busy(late)

    @contextmanager
    def admitted(self, direction: str, seconds: float, works: Sequence[Work]) -> Iterator[None]:
        """All of `works` are inside from now on until they are done. Raises Busy, as `check` does."""
        self.check(direction, seconds, works)
        self._inside.update(works)
        try:
            yield
        finally:
            self._inside.difference_update(works)

    def _added(self, works: Sequence[Work] | set[Work]) -> float:
        codecs = sum(work.decoding + work.encoding for work in works)
        return codecs / self._codecs + sum(work.inference for work in works) / self._lanes


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
