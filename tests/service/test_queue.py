"""The queue alone, on a clock that the test sets."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from service.engine.queue import DeadlinePassed, Queue, QueueFull, Rate, Request, TooLarge

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


def make_queue(clock: Clock, pictures: int = 100, batch: int = 4) -> Queue:
    queue = Queue(pictures * PIXELS, batch * PIXELS, clock=clock)
    queue.rates = {"there": Rate(PIXELS, SECONDS), "back": Rate(PIXELS, SECONDS)}
    return queue


def submit(queue: Queue, direction: str = "there", height: int = SIDE, seconds: float = 30) -> Request:
    """Each a millisecond after the one before."""
    assert isinstance(queue.clock, Clock)
    queue.clock.now += 0.001
    return queue.submit(direction, np.zeros((height, SIDE, 3), np.uint8), queue.clock() + seconds)


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
async def test_a_batch_is_what_gathered_of_one_direction_and_shape_as_far_as_it_fits(clock: Clock) -> None:
    queue = make_queue(clock, batch=3)
    first = [submit(queue) for _ in range(2)]
    back, tall = submit(queue, "back"), submit(queue, height=2 * SIDE)
    first += [submit(queue) for _ in range(2)]
    assert [await queue.take() for _ in range(4)] == [first[:3], [back], [tall], first[3:]]


@in_a_loop
async def test_the_group_that_waited_longest_goes_first(clock: Clock) -> None:
    queue = make_queue(clock)
    later = []
    early = submit(queue, "back")
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
async def test_full_queue_refuses_and_says_when_to_come_back(clock: Clock) -> None:
    queue = make_queue(clock, pictures=50)
    inside = [submit(queue) for _ in range(50)]
    with pytest.raises(QueueFull) as refused:
        submit(queue, height=30 * SIDE)
    assert refused.value.retry_after == 3  # thirty pictures must leave, ten of them a second
    taken = await queue.take()
    with pytest.raises(QueueFull):
        submit(queue)  # what runs still counts
    queue.finish(taken)
    assert len(inside) - len(taken) == queue.waiting
    submit(queue)


@in_a_loop
async def test_what_could_not_be_answered_in_time_is_refused_at_the_door(clock: Clock) -> None:
    queue = make_queue(clock)
    for _ in range(40):
        submit(queue)
    submit(queue, seconds=6)
    with pytest.raises(QueueFull) as refused:
        submit(queue, seconds=2)
    assert refused.value.retry_after == 3  # 4.2 s of work, and 2 s to do it in, of which 1.4 are planned with


@in_a_loop
async def test_a_picture_that_never_fits_is_too_large(clock: Clock) -> None:
    with pytest.raises(TooLarge, match="smaller `size`"):
        submit(make_queue(clock, pictures=2), height=3 * SIDE)


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


def test_the_rate_follows_the_latest_measurements() -> None:
    rate = Rate(1000, 1.0)
    for _ in range(50):
        rate.add(1000, 0.5)
    assert rate.seconds(2000) == pytest.approx(1.0, rel=0.05)


@in_a_loop
async def test_a_batch_holds_no_more_work_than_it_may(clock: Clock) -> None:
    queue = make_queue(clock, batch=100)
    queue.max_batch_seconds = 2.5 * SECONDS
    requests = [submit(queue) for _ in range(5)]
    assert [await queue.take() for _ in range(3)] == [requests[:2], requests[2:4], requests[4:]]
