"""Codecs as processes: what happens to one picture happens to no other."""

import asyncio
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable

import numpy as np
import psutil
import pytest

from pictures.encode import encode
from pictures.errors import NotAPicture, TooManyPixels
from service import codec_tasks
from service.codecs import CodecDied, Codecs
from tests.conftest import wait_until

PATIENT = 60


def with_codecs(test: Callable[[Codecs], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        codecs = Codecs(2, 3 * 2**30)
        codecs.start()
        try:
            asyncio.run(test(codecs))
        finally:
            codecs.stop()

    return run


def parents() -> list[psutil.Process]:
    """Of this test's codecs; the service that other tests share is a child of theirs, too, and none of these."""
    return [child for child in psutil.Process().children() if "service.codecs" in child.cmdline()]


def processes() -> list[psutil.Process]:
    """This test's codecs."""
    return [process for parent in parents() for process in parent.children()]


async def pids(codecs: Codecs) -> set[int]:
    """Of those that two tasks run in, each so long that the other cannot have its codec afterwards."""
    slow = "__import__('time').sleep(0.3) or __import__('os').getpid()"
    return {pid for pid, _ in await asyncio.gather(*(codecs.run(eval, slow, limit=PATIENT) for _ in range(2)))}


@with_codecs
async def test_codecs_know_nothing_of_the_service_but_pictures(codecs: Codecs) -> None:
    known, _ = await codecs.run(eval, "{name.split('.')[0] for name in __import__('sys').modules}", limit=PATIENT)
    assert {"PIL", "numpy", "pictures"} <= known
    assert not {"onnxruntime", "fastapi", "uvicorn", "pydantic", "torch"} & known


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_codec_that_dies_in_the_middle_of_sixteen_takes_one_with_it(number: int) -> None:
    @with_codecs
    async def run(codecs: Codecs) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
        tasks = [codecs.run(np.flip, noise + value, limit=PATIENT) for value in range(15)]
        tasks.insert(7, codecs.run(signal.raise_signal, number, limit=PATIENT))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes.pop(7), CodecDied)
        for value, (flipped, _) in enumerate(outcomes):
            assert (flipped == np.flip(noise + value)).all()

    run()


@with_codecs
async def test_codecs_that_are_killed_from_outside_are_replaced(codecs: Codecs) -> None:
    for killed in (processes, parents):
        sleeping = [asyncio.create_task(codecs.run(time.sleep, 0.5, limit=PATIENT)) for _ in range(2)]
        await asyncio.sleep(0.1)
        for process in killed():
            process.kill()
        await asyncio.gather(*sleeping, return_exceptions=True)
        with pytest.raises(CodecDied):
            await codecs.run(os.abort, limit=PATIENT)
        assert len(await pids(codecs)) == 2


@with_codecs
async def test_one_that_is_killed_while_it_has_nothing_to_do_fails_no_picture(codecs: Codecs) -> None:
    idle = processes()
    for process in idle:
        process.kill()
    wait_until(lambda: all(process.status() == psutil.STATUS_ZOMBIE for process in idle))
    assert len(await pids(codecs)) == 2


@with_codecs
async def test_where_there_is_no_room_for_a_new_process_it_is_started_later(codecs: Codecs) -> None:
    beside = asyncio.create_task(codecs.run(time.sleep, 1, limit=PATIENT))
    await asyncio.sleep(0.1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(CodecDied):
            await codecs.run(signal.raise_signal, signal.SIGKILL, limit=PATIENT)
        await beside
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(await pids(codecs)) == 2


@with_codecs
async def test_a_task_that_never_ends_is_killed_and_the_others_go_on(codecs: Codecs) -> None:
    endless = asyncio.create_task(codecs.run(exec, "while True: pass", limit=0.5))
    for _ in range(4):
        await codecs.run(os.getpid, limit=PATIENT)
    with pytest.raises(CodecDied, match="longer than"):
        await endless
    wait_until(lambda: all(process.status() == psutil.STATUS_SLEEPING for process in processes()))  # none runs on


@with_codecs
async def test_a_task_that_takes_too_much_memory_fails_alone(codecs: Codecs) -> None:
    with pytest.raises(MemoryError):
        await codecs.run(bytearray, 8 * 2**30, limit=PATIENT)
    assert (await codecs.run(abs, -1, limit=PATIENT))[0] == 1


@with_codecs
async def test_a_task_whose_client_has_gone_is_killed_at_once(codecs: Codecs) -> None:
    before = {process.pid for process in processes()}
    tasks = [asyncio.create_task(codecs.run(time.sleep, 600, limit=700)) for _ in range(3)]  # the third waits
    await asyncio.sleep(0.2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not before & {process.pid for process in processes()}
    assert len(await pids(codecs)) == 2


@with_codecs
async def test_what_goes_first_does_not_wait_for_others(codecs: Codecs) -> None:
    order: list[str] = []

    async def note(name: str, first: bool) -> None:
        await codecs.run(time.sleep, 0.05, limit=PATIENT, first=first)
        order.append(name)

    await asyncio.gather(*(note("later", False) for _ in range(6)), *(note("first", True) for _ in range(2)))
    assert order.index("first") < 4


def test_codecs_end_with_the_service_however_it_ends() -> None:
    program = (
        "import asyncio, os, time; from service.codecs import Codecs; codecs = Codecs(2, 2**32); codecs.start()\n"
        "async def busy(): await codecs.run(time.sleep, 600, limit=700)\n"
        "async def main(): asyncio.create_task(busy()); await asyncio.sleep(0.2); os.kill(os.getpid(), 9)\nasyncio.run(main())"
    )
    process = psutil.Popen([sys.executable, "-c", program])
    below: list[psutil.Process] = []
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        below = process.children(recursive=True) or below
        time.sleep(0.02)
    process.wait()
    assert len(below) == 3
    assert not psutil.wait_procs(below, timeout=10)[1]


@with_codecs
async def test_what_is_wrong_with_a_picture_is_told_as_it_was_found(codecs: Codecs) -> None:
    with pytest.raises(NotAPicture):
        await codecs.run(codec_tasks.read_header, b"not a picture", 100, limit=PATIENT)
    with pytest.raises(TooManyPixels) as caught:
        await codecs.run(codec_tasks.read_header, encode(np.zeros((20, 20, 3), np.uint8), "png", 90), 100, limit=PATIENT)
    assert caught.value.limit == 100
