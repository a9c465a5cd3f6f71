"""The service under more than it can do, and stopped in the middle of it."""

import asyncio
import math
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import psutil
import pytest
from PIL import Image

from tests.conftest import PHOTO, Service, encoded, running_service, wait_until

SECONDS = 20
CLIENTS = 8


@dataclass(frozen=True)
class Answered:
    status: int
    after: float
    """Seconds from the request to the answer."""
    at: float
    retry_after: int | None


@pytest.fixture(scope="module")
def picture() -> bytes:
    """Such that translating it costs far more than sending it: the clients run on the same CPUs."""
    return encoded(Image.open(PHOTO).resize((480, 320)), "JPEG")


async def send(running: Service, picture: bytes, direction: str = "photo2monet") -> Answered:
    """A connection each, by hand: httpx takes ten times as long, on the CPUs that the service is measured on."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection(*running.address.split(":"))
    writer.write(
        f"POST /translate?direction={direction}&size=480 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
        + picture
    )
    head = (await reader.read()).partition(b"\r\n\r\n")[0].decode()
    writer.close()
    now = time.monotonic()
    retry_after = re.search(r"retry-after: (\d+)", head)
    return Answered(int(head.split()[1]), now - begun, now, int(retry_after[1]) if retry_after else None)


async def closed_loop(running: Service, picture: bytes, seconds: float) -> list[Answered]:
    """Each client sends its next request when it has its answer: what the service can do. Those that are answered within `seconds`."""
    answers: list[Answered] = []

    async def client() -> None:
        while time.monotonic() < end:
            answers.append(await send(running, picture))

    end = time.monotonic() + seconds
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return [answer for answer in answers if answer.status == 200 and answer.at < end]


async def open_loop(running: Service, picture: bytes, rate: float, seconds: float) -> list[Answered]:
    """`rate` requests a second, whatever becomes of those before."""
    begun, sent = time.monotonic(), []
    while (elapsed := time.monotonic() - begun) < seconds:
        sent += [asyncio.create_task(send(running, picture)) for _ in range(int(rate * elapsed) - len(sent))]
        await asyncio.sleep(0.005)
    return await asyncio.gather(*sent)


def busy_seconds(running: Service) -> float:
    """Of session runs, since the start."""
    found = re.search(r"^cyclegan_lane_busy_seconds_total (\S+)", running.client.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


@pytest.fixture
def deadline(service: Service, picture: bytes) -> int:
    """Seconds in which this machine, as busy as it is, can do some pictures."""
    took = [asyncio.run(send(service, picture)).after for _ in range(3)]
    return max(4, math.ceil(12 * max(took[1:])))


@pytest.fixture
def busy(deadline: int) -> Iterator[Service]:
    with running_service(deadline_seconds=deadline, intra_op_threads=1) as running:
        yield running


@pytest.mark.slow
def test_four_times_too_much_load_is_answered_in_time_or_refused(busy: Service, deadline: int, picture: bytes) -> None:
    process = psutil.Process(busy.process.pid)
    asyncio.run(closed_loop(busy, picture, 1))
    capacity = len(asyncio.run(closed_loop(busy, picture, 8))) / 8
    memory_before = process.memory_info().rss

    worked, begun = busy_seconds(busy), time.monotonic()
    answers = asyncio.run(open_loop(busy, picture, 4 * capacity, SECONDS))
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) == {200, 503}, "accepted and not answered in time, or refused for another reason"
    accepted = [answer for answer in answers if answer.status == 200]
    assert max(answer.after for answer in accepted) < deadline + 1
    worked, lasted = busy_seconds(busy) - worked, max(answer.at for answer in answers) - begun
    assert worked >= 0.9 * lasted, "the lane waits while there is work, all of which is answered in time"
    goodput = sum(answer.at < begun + SECONDS for answer in accepted) / SECONDS
    assert goodput >= 0.75 * capacity, f"{goodput:.1f} of {capacity:.1f} a second"  # the machine's own speed changes, too
    assert all(answer.retry_after == 1 or answer.retry_after <= deadline for answer in answers if answer.retry_after)
    assert process.memory_info().rss < memory_before + 512 * 2**20

    time.sleep(1)
    assert busy.client.post("/translate?direction=photo2monet&size=480", content=picture).status_code == 200
    metrics = busy.client.get("/metrics").text
    assert 'cyclegan_rejected_total{direction="photo2monet",reason="deadline"}' in metrics
    assert "cyclegan_queue_length 0.0" in metrics


def test_sigterm_under_load_answers_what_is_in_and_then_ends(picture: bytes) -> None:
    async def stop_in_the_middle(running: Service) -> list[Answered]:
        sent = [asyncio.create_task(send(running, picture)) for _ in range(12)]
        await asyncio.sleep(0.1)
        running.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        assert running.client.get("/health/ready").status_code == 503, "readiness fails first"
        assert running.client.get("/health/live").status_code == 200
        return await asyncio.gather(*sent)

    with running_service() as running:
        answers = asyncio.run(stop_in_the_middle(running))
        assert [answer.status for answer in answers] == [200] * len(answers)
        wait_until(lambda: running.process.poll() is not None, seconds=30)
        assert running.process.returncode in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_the_last_of_many_sizes_and_directions_needs_no_more_memory_than_the_first() -> None:
    random, photo = Random(0), Image.open(PHOTO)

    async def mixed(running: Service, requests: int) -> int:
        for _ in range(requests // 4):
            pictures = [encoded(photo.resize((random.randint(64, 480), random.randint(64, 480))), "JPEG") for _ in range(4)]
            directions = random.choices(["photo2monet", "monet2photo"], k=4)
            answers = await asyncio.gather(*(send(running, *each) for each in zip(pictures, directions, strict=True)))
            assert all(answer.status == 200 for answer in answers)
        return psutil.Process(running.process.pid).memory_info().rss

    with running_service(intra_op_threads=2) as running:
        first = asyncio.run(mixed(running, 40))
        assert asyncio.run(mixed(running, 200)) < 1.1 * first
