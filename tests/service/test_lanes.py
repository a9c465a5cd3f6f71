"""Queue and lanes together, with generators that the test makes."""

import asyncio
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.lanes import Lanes
from service.engine.queue import Queue
from service.errors import InferenceFailed
from tests.service.conftest import POISON, Inverting


def lanes_of(max_batch_pixels: int = 10**6, lanes: int = 1, devices: int = 1) -> tuple[Queue, Lanes]:
    queue = Queue(max_batch_pixels, lanes)
    return queue, Lanes(queue, devices)


def picture(value: int) -> NDArray[np.uint8]:
    return np.full((64, 64, 3), value, np.uint8)


async def answers_to(queue: Queue, lanes: Lanes, generator: Any, values: range) -> list[Any]:
    deadline = queue.clock() + 30
    jobs = [queue.submit(generator, picture(value), deadline) for value in values]
    lanes.start()
    return await asyncio.gather(*(job.answer for job in jobs), return_exceptions=True)


def test_each_request_of_a_batch_gets_its_own_result() -> None:
    async def run() -> None:
        generator = Inverting()
        queue, lanes = lanes_of()
        answers = await answers_to(queue, lanes, generator, range(100, 116))
        assert [answer[0, 0, 0] for answer in answers] == [255 - value for value in range(100, 116)]
        assert generator.batches == [16]
        await lanes.stop()

    asyncio.run(run())


def test_one_poisoned_picture_in_sixteen_fails_alone() -> None:
    async def run() -> None:
        queue, lanes = lanes_of()
        answers = await answers_to(queue, lanes, Inverting(), range(16))
        assert isinstance(answers[POISON], InferenceFailed)
        assert [answer[0, 0, 0] for value, answer in enumerate(answers) if value != POISON] == [255 - v for v in range(16) if v != POISON]
        assert lanes.alive
        await queue.drained()
        await lanes.stop()

    asyncio.run(run())


def test_out_of_memory_halves_the_batch_budget_and_fails_nobody() -> None:
    class Small(Inverting):
        def run(self, pictures: list[NDArray[np.uint8]], alone: bool, device: int) -> NDArray[np.uint8]:
            if len(pictures) > 4:
                raise RuntimeError("Failed to allocate memory for requested buffer of size 67108864")
            return super().run(pictures, alone, device)

    async def run() -> None:
        generator = Small()
        queue, lanes = lanes_of()
        answers = await answers_to(queue, lanes, generator, range(100, 116))
        assert [answer[0, 0, 0] for answer in answers] == [255 - value for value in range(100, 116)]
        assert queue.max_batch_pixels == 4 * 64 * 64
        generator.batches.clear()
        deadline = queue.clock() + 30
        await asyncio.gather(*(queue.submit(generator, picture(value), deadline).answer for value in range(8)))
        assert generator.batches == [4, 4]
        await lanes.stop()

    asyncio.run(run())


def test_what_is_cancelled_while_it_waits_costs_no_inference() -> None:
    async def run() -> None:
        generator = Inverting()
        queue, lanes = lanes_of()
        gone = queue.submit(generator, picture(1), queue.clock() + 30)
        gone.answer.cancel()
        await asyncio.sleep(0)
        await answers_to(queue, lanes, generator, range(2, 4))
        assert generator.batches == [2]
        await lanes.stop()

    asyncio.run(run())


def test_a_client_that_gives_up_the_moment_that_its_deadline_passes_ends_no_lane() -> None:
    async def run() -> None:
        queue, lanes = lanes_of()
        lanes.start()  # its first step comes before the queue hears that the answer is not wanted any more
        queue.submit(Inverting(), picture(1), queue.clock()).answer.cancel()
        await asyncio.sleep(0)
        assert lanes.alive
        assert len(await answers_to(queue, lanes, Inverting(), range(2))) == 2
        await lanes.stop()

    asyncio.run(run())


class Death(BaseException):
    """Beyond what a lane recovers from."""


def test_a_lane_that_dies_is_told_and_fails_only_what_it_had() -> None:
    class Dying(Inverting):
        def run(self, pictures: list[NDArray[np.uint8]], alone: bool, device: int) -> NDArray[np.uint8]:
            raise Death

    async def run() -> None:
        queue, lanes = lanes_of()
        assert all(isinstance(answer, InferenceFailed) for answer in await answers_to(queue, lanes, Dying(), range(2)))
        assert not lanes.alive
        assert queue.idle
        await lanes.stop()

    asyncio.run(run())


def test_a_picture_that_is_alone_has_all_threads_and_those_that_are_not_share_them() -> None:
    class Noting(Inverting):
        def run(self, pictures: list[NDArray[np.uint8]], alone: bool, device: int) -> NDArray[np.uint8]:
            noted.append(alone)
            return super().run(pictures, alone, device)

    async def run() -> None:
        generator = Noting()
        queue, lanes = lanes_of(max_batch_pixels=1, lanes=2)
        await answers_to(queue, lanes, generator, range(1))
        assert noted == [True]
        deadline = queue.clock() + 30
        await asyncio.gather(*(queue.submit(generator, picture(value), deadline).answer for value in range(4)))
        assert noted[1:3] == [False, False]
        await lanes.stop()

    noted: list[bool] = []
    asyncio.run(run())


def test_each_gpu_has_lanes_of_its_own() -> None:
    class Noting(Inverting):
        def run(self, pictures: list[NDArray[np.uint8]], alone: bool, device: int) -> NDArray[np.uint8]:
            noted.append(device)
            time.sleep(0.05)  # so that each lane takes one
            return super().run(pictures, alone, device)

    async def run() -> None:
        queue, lanes = lanes_of(max_batch_pixels=1, lanes=4, devices=2)
        await answers_to(queue, lanes, Noting(), range(100, 104))
        assert sorted(noted) == [0, 0, 1, 1]
        await lanes.stop()

    noted: list[int] = []
    asyncio.run(run())
