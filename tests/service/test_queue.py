"""The queue alone, on a clock that the test sets."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from service.costs import Rate
from service.engine.queue import Job, Queue
from service.errors import DeadlinePassed
from tests.service.conftest import Inverting

SIDE = 64
PIXELS = SIDE * SIDE
SECONDS = 0.1
"""What a picture of 64×64 takes."""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


THERE, BACK = Inverting(Rate(PIXELS, SECONDS)), Inverting(Rate(PIXELS, SECONDS))


def make_queue(clock: Clock, batch: int = 4) -> Queue:
    return Queue(batch * PIXELS, clock=clock)


def submit(queue: Queue, generator: Inverting = THERE, height: int = SIDE, seconds: float = 30) -> Job:
    """Each a millisecond after the one before."""
    assert isinstance(queue.clock, Clock)
    queue.clock.now += 0.001
    return queue.submit(generator, np.zeros((height, SIDE, 3), np.uint8), queue.clock() + seconds)


def in_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    def run(clock: Clock) -> None:
        asyncio.run(test(clock))

    return run


@in_a_loop
async def test_a_lone_request_starts_at_once(clock: Clock) -> None:
    queue = make_queue(clock)
    request = submit(queue)
    assert await asyncio.wait_for(queue.take(), 1) == [request]


@in_a_loop
async def test_a_batch_is_what_gathered_of_one_generator_and_shape_as_far_as_it_fits(clock: Clock) -> None:
    queue = make_queue(clock, batch=3)
    first = [submit(queue) for _ in range(2)]
    back, tall = submit(queue, BACK), submit(queue, height=2 * SIDE)
    first += [submit(queue) for _ in range(2)]
    assert [await queue.take() for _ in range(4)] == [first[:3], [back], [tall], first[3:]]


@in_a_loop
async def test_the_group_that_waited_longest_goes_first(clock: Clock) -> None:
    queue = make_queue(clock)
    later = []
    early = submit(queue, BACK)
    for _ in range(3):
        clock.now += 1
        later.append(submit(queue))
    assert await queue.take() == [early]
    assert await queue.take() == later


@in_a_loop
async def test_a_single_picture_above_the_batch_budget_runs_alone(clock: Clock) -> None:
    queue = make_queue(clock, batch=1)
    large = [submit(queue, height=4 * SIDE) for _ in range(2)]
    assert [await queue.take() for _ in range(2)] == [[large[0]], [large[1]]]


@in_a_loop
async def test_what_its_client_gave_up_on_is_never_taken(clock: Clock) -> None:
    queue = make_queue(clock)
    gone, stays = submit(queue), submit(queue)
    gone.answer.cancel()
    await asyncio.sleep(0)
    assert queue.waiting == 1
    assert await queue.take() == [stays]


@in_a_loop
async def test_what_has_expired_is_told_so_and_never_taken(clock: Clock) -> None:
    queue = make_queue(clock)
    expired, stays = submit(queue, seconds=5), submit(queue)
    clock.now += 6
    assert await queue.take() == [stays]
    with pytest.raises(DeadlinePassed):
        await expired.answer


@in_a_loop
async def test_drained_waits_for_what_waits_and_what_runs(clock: Clock) -> None:
    queue = make_queue(clock)
    submit(queue)
    drained = asyncio.create_task(queue.drained())
    taken = await queue.take()
    await asyncio.sleep(0)
    assert not drained.done()
    queue.finish(taken)
    await asyncio.wait_for(drained, 1)


@in_a_loop
async def test_a_batch_holds_no_more_work_than_it_may(clock: Clock) -> None:
    queue = make_queue(clock, batch=100)
    queue.max_batch_seconds = 2.5 * SECONDS
    requests = [submit(queue) for _ in range(5)]
    assert [await queue.take() for _ in range(3)] == [requests[:2], requests[2:4], requests[4:]]
