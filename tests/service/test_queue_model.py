"""The queue under anything that may happen to it, against a model, on a clock that the test sets."""

import asyncio
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.queue import DeadlinePassed, InferenceFailed, Queue, QueueFull, Rate, Request

SIDE = 64
PIXELS = SIDE * SIDE
SECONDS = 0.1
"""What a picture of 64×64 takes."""
ROOM, BATCH, LANES = 12, 3, 2

STEPS = st.one_of(
    st.tuples(st.just("arrive"), st.sampled_from(["there", "back"]), st.integers(1, 3), st.floats(0.05, 5)),
    st.tuples(st.just("hang up"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.floats(0.001, 2)),
    st.tuples(st.just("take")),
    st.tuples(st.just("finish"), st.booleans()),
)


class House:
    """A queue, lanes that the test steps through, and what has become of each request."""

    def __init__(self) -> None:
        self.now = 100.0
        self.queue = Queue(ROOM * PIXELS, BATCH * PIXELS, LANES, clock=lambda: self.now)
        self.queue.rates = {"there": Rate(PIXELS, SECONDS), "back": Rate(PIXELS, SECONDS)}
        self.inside: list[Request] = []
        self.in_lanes: list[list[Request]] = []
        self.ends: Counter[Request] = Counter()

    def arrive(self, direction: str, rows: int, seconds: float) -> None:
        number = len(self.inside) % 251
        try:
            request = self.queue.submit(direction, np.full((rows * SIDE, SIDE, 3), number, np.uint8), self.now + seconds)
        except QueueFull:
            return
        request.answer.add_done_callback(lambda _: self.ends.update([request]))
        self.inside.append(request)

    def hang_up(self, which: int) -> None:
        if self.inside:
            self.inside[which % len(self.inside)].answer.cancel()

    async def take(self) -> None:
        if len(self.in_lanes) < LANES:
            oldest = min((r.arrived for r in self.waiting if r.deadline > self.now), default=None)
            try:
                batch = await asyncio.wait_for(self.queue.take(), 0.001)
            except TimeoutError:
                assert oldest is None, "something waits, and a lane is free"
                return
            assert len({request.group for request in batch}) == 1
            assert sum(request.cost for request in batch) <= BATCH * PIXELS or len(batch) == 1
            assert all(request.deadline > self.now and not request.answer.done() for request in batch), "wasted on a request that is over"
            assert batch[0].arrived == oldest, "another waited longer"
            self.in_lanes.append(batch)

    def finish(self, fails: bool) -> None:
        if self.in_lanes:
            batch = self.in_lanes.pop(0)
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(InferenceFailed("poison")) if fails else request.answer.set_result(255 - request.pixels)
            self.queue.finish(batch)

    @property
    def waiting(self) -> list[Request]:
        taken = {request for batch in self.in_lanes for request in batch}
        return [request for request in self.inside if not request.answer.done() and request not in taken]

    def check_bounds(self) -> None:
        assert 0 <= self.queue.pixels <= ROOM * PIXELS
        assert self.queue.pixels == sum(r.cost for r in (*self.waiting, *(r for batch in self.in_lanes for r in batch)))


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_each_request_ends_once_with_its_own_result(steps: list[tuple]) -> None:
    async def run() -> None:
        house = House()
        for step, *arguments in steps:
            house.now += 1e-6
            match step:
                case "arrive":
                    house.arrive(*arguments)
                case "hang up":
                    house.hang_up(*arguments)
                case "wait":
                    house.now += arguments[0]
                case "take":
                    await house.take()
                case "finish":
                    house.finish(*arguments)
            await asyncio.sleep(0)
            house.check_bounds()

        while not house.queue.idle:  # shutdown: what is in is answered
            await house.take()
            house.finish(fails=False)
            await asyncio.sleep(0)
        await asyncio.wait_for(house.queue.drained(), 1)
        for request in house.inside:
            assert house.ends[request] == 1
            if not request.answer.cancelled() and (error := request.answer.exception()) is None:
                assert (request.answer.result() == 255 - request.pixels).all()
            elif not request.answer.cancelled():
                assert isinstance(error, DeadlinePassed | InferenceFailed)

    asyncio.run(run())


def test_no_direction_starves_beside_a_busy_one() -> None:
    async def run() -> None:
        house = House()
        house.arrive("back", 1, 30)
        for _ in range(6):
            house.arrive("there", 1, 30)
        for _ in range(2):
            house.now += SECONDS
            await house.take()
            house.finish(fails=False)
            house.arrive("there", 1, 30)
        assert house.inside[0].answer.done()

    asyncio.run(run())
