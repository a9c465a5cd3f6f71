"""The queue under anything that may happen to it, against a model, on a clock that the test sets."""

import asyncio
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.costs import Rate
from service.engine.queue import Job, Queue
from service.errors import DeadlinePassed, InferenceFailed
from tests.service.conftest import Inverting

SIDE = 64
PIXELS = SIDE * SIDE
SECONDS = 0.1
"""What a picture of 64×64 takes."""
BATCH, LANES = 3, 2
GENERATORS = [Inverting(Rate(PIXELS, SECONDS)), Inverting(Rate(PIXELS, SECONDS))]

STEPS = st.one_of(
    st.tuples(st.just("arrive"), st.sampled_from(GENERATORS), st.integers(1, 3), st.floats(0.05, 5)),
    st.tuples(st.just("hang up"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.floats(0.001, 2)),
    st.tuples(st.just("take")),
    st.tuples(st.just("finish"), st.booleans()),
)


class Model:
    """A queue, lanes that the test steps through, and what has become of each job."""

    def __init__(self) -> None:
        self.now = 100.0
        self.queue = Queue(BATCH * PIXELS, LANES, clock=lambda: self.now)
        self.inside: list[Job] = []
        self.in_lanes: list[list[Job]] = []
        self.ends: Counter[Job] = Counter()

    def arrive(self, generator: Inverting, rows: int, seconds: float) -> None:
        number = len(self.inside) % 251
        job = self.queue.submit(generator, np.full((rows * SIDE, SIDE, 3), number, np.uint8), self.now + seconds)
        job.answer.add_done_callback(lambda _: self.ends.update([job]))
        self.inside.append(job)

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
            assert len({job.group for job in batch}) == 1
            assert sum(job.cost for job in batch) <= BATCH * PIXELS or len(batch) == 1
            assert all(job.deadline > self.now and not job.answer.done() for job in batch), "wasted on a job that is over"
            assert batch[0].arrived == oldest, "another waited longer"
            self.in_lanes.append(batch)

    def finish(self, fails: bool) -> None:
        if self.in_lanes:
            batch = self.in_lanes.pop(0)
            for job in batch:
                if not job.answer.done():
                    job.answer.set_exception(InferenceFailed()) if fails else job.answer.set_result(255 - job.pixels)
            self.queue.finish(batch)

    @property
    def waiting(self) -> list[Job]:
        taken = {job for batch in self.in_lanes for job in batch}
        return [job for job in self.inside if not job.answer.done() and job not in taken]

    def check_bounds(self) -> None:
        assert self.queue.pixels == sum(r.cost for r in (*self.waiting, *(r for batch in self.in_lanes for r in batch)))


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_each_request_ends_once_with_its_own_result(steps: list[tuple]) -> None:
    async def run() -> None:
        model = Model()
        for step, *arguments in steps:
            model.now += 1e-6
            match step:
                case "arrive":
                    model.arrive(*arguments)
                case "hang up":
                    model.hang_up(*arguments)
                case "wait":
                    model.now += arguments[0]
                case "take":
                    await model.take()
                case "finish":
                    model.finish(*arguments)
            await asyncio.sleep(0)
            model.check_bounds()

        while not model.queue.idle:  # shutdown: what is in is answered
            await model.take()
            model.finish(fails=False)
            await asyncio.sleep(0)
        await asyncio.wait_for(model.queue.drained(), 1)
        for job in model.inside:
            assert model.ends[job] == 1
            if not job.answer.cancelled() and (error := job.answer.exception()) is None:
                assert (job.answer.result() == 255 - job.pixels).all()
            elif not job.answer.cancelled():
                assert isinstance(error, DeadlinePassed | InferenceFailed)

    asyncio.run(run())


def test_no_direction_starves_beside_a_busy_one() -> None:
    async def run() -> None:
        model = Model()
        model.arrive(GENERATORS[1], 1, 30)
        for _ in range(6):
            model.arrive(GENERATORS[0], 1, 30)
        for _ in range(2):
            model.now += SECONDS
            await model.take()
            model.finish(fails=False)
            model.arrive(GENERATORS[0], 1, 30)
        assert model.inside[0].answer.done()

    asyncio.run(run())
