"""Put load on a server and measure it. In a closed loop, each client waits for its answer; in an open loop, requests arrive at a fixed
mean rate."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np

BOUNDARY = "a-picture-follows"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
REFUSALS = {408, 429, 503, 504}
"""Statuses with which servers refuse work."""
PATIENCE = 60
"""How long a client waits for an answer, in seconds."""


@dataclass(frozen=True)
class Load:
    """The result of a load."""

    per_second: float
    """Answers with status 200; in an open loop, only those within the deadline."""
    p50_ms: float | None
    """Latency of answers with status 200; in an open loop, counted from when the request was due. None if there were none."""
    p99_ms: float | None
    answers: int = 0
    refused: int = 0
    errors: int = 0
    cpu_ms: float | None = None
    """CPU time of all the server's processes per answer."""
    memory_mb: float | None = None
    """Peak memory of all the server's processes; shared memory counts once."""


@dataclass(frozen=True)
class Outcome:
    """The result of one request."""

    status: int
    """0 if there was no answer."""
    seconds: float
    content: bytes


def form(picture: bytes) -> bytes:
    """Return the body that `curl -F image=@picture.jpg` sends."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="picture.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()


def closed_loop(url: str, picture: bytes, clients: int, seconds: int) -> Load:
    """Run with wrk if it is installed, because it takes the least CPU time from the server; otherwise in Python."""
    wrk = shutil.which("wrk")
    if wrk is None:
        started_at = time.monotonic()
        outcomes = asyncio.run(_closed_loop(url, form(picture), clients, seconds))
        return _load(outcomes, time.monotonic() - started_at, PATIENCE)
    with tempfile.NamedTemporaryFile() as body:
        Path(body.name).write_bytes(form(picture))
        command = [wrk, "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", f"{PATIENCE}s", "-s", str(Path(__file__).parent / "wrk.lua")]
        output = subprocess.run([*command, url, "--", body.name, CONTENT_TYPE], capture_output=True, text=True, check=True).stdout
    result = json.loads(output.splitlines()[-1])
    if not result["answers"]:
        result |= {"p50_ms": None, "p99_ms": None}
    return Load(result["answers"] / result.pop("seconds"), **result)


async def _closed_loop(url: str, body: bytes, clients: int, seconds: float) -> list[Outcome]:
    end = time.monotonic() + seconds
    outcomes: list[Outcome] = []

    async def client() -> None:
        while (now := time.monotonic()) < end:
            outcomes.append(await _post(session, url, body, now))

    async with _session() as session:
        await asyncio.gather(*(client() for _ in range(clients)))
    return outcomes


def open_loop(url: str, picture: bytes, rate: float, seconds: float, deadline: float) -> Load:
    """Run with Poisson arrivals, the same for each server. Latency counts from when a request is due, so a slow server cannot hide it by
    making its clients wait."""
    arrivals = np.cumsum(np.random.default_rng(0).exponential(1 / rate, max(1, round(rate * seconds))))
    return _load(asyncio.run(_open_loop(url, form(picture), arrivals.tolist())), float(arrivals[-1]), deadline)


async def _open_loop(url: str, body: bytes, arrivals: list[float]) -> list[Outcome]:
    async with _session() as session:
        started_at, tasks = time.monotonic(), []
        for arrival in arrivals:
            await asyncio.sleep(started_at + arrival - time.monotonic())
            tasks.append(asyncio.create_task(_post(session, url, body, started_at + arrival)))
        return await asyncio.gather(*tasks)


def post_at_once(url: str, pictures: Sequence[bytes]) -> list[Outcome]:
    """Send all pictures at the same time, each by its own client."""

    async def post_all() -> list[Outcome]:
        async with _session() as session:
            return await asyncio.gather(*(_post(session, url, form(picture), time.monotonic()) for picture in pictures))

    return asyncio.run(post_all())


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1)  # shorter than any server's
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(PATIENCE), headers={"Content-Type": CONTENT_TYPE})


async def _post(session: aiohttp.ClientSession, url: str, body: bytes, due: float) -> Outcome:
    try:
        async with session.post(url, data=body) as response:
            content = await response.read()
            return Outcome(response.status, time.monotonic() - due, content)
    except (aiohttp.ClientError, TimeoutError):
        return Outcome(0, time.monotonic() - due, b"")


def _load(outcomes: list[Outcome], seconds: float, deadline: float) -> Load:
    durations = [outcome.seconds for outcome in outcomes if outcome.status == 200]
    statuses = Counter(outcome.status for outcome in outcomes)
    refused = sum(statuses[status] for status in REFUSALS)
    p50, p99 = (1000 * np.percentile(durations, (50, 99))).tolist() if durations else (None, None)
    in_time = sum(each <= deadline for each in durations)
    return Load(in_time / seconds, p50, p99, answers=len(durations), refused=refused, errors=len(outcomes) - len(durations) - refused)
