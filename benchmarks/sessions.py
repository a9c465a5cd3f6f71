"""Sessions without a server, to compare servers with."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from benchmarks.load import Load
from models.padding import Pixels
from pictures.decode import decode, open_picture
from pictures.encode import encode
from service.engine.sessions import CPU, open_session

BATCHES = (1, 2, 4, 8, 16)


def repeat(work: Callable[[], object], seconds: float, pictures: int = 1, loops: int = 1) -> Load:
    """Measure `work`, which handles `pictures` pictures per call, in `loops` threads."""
    durations: list[float] = []
    cpu_started_at, started_at = time.process_time(), time.perf_counter()

    def loop() -> None:
        now = started_at
        while now < started_at + seconds:
            work()
            durations.append(time.perf_counter() - now)
            now += durations[-1]

    with ThreadPoolExecutor(loops) as threads:
        for future in [threads.submit(loop) for _ in range(loops)]:
            future.result()
    now = time.perf_counter()
    answers = pictures * len(durations)
    p50, p99 = (1000 * np.percentile(durations, (50, 99))).tolist()
    return Load(answers / (now - started_at), p50, p99, answers, cpu_ms=1000 * (time.process_time() - cpu_started_at) / answers)


def whole_loops(model: Path, picture: bytes, size: int, seconds: float, processes: int, threads: int) -> Load:
    """Measure the limit of the machine: loops of decode, session and encode in several processes, without HTTP."""
    context = get_context("spawn")
    ready, answers = context.Barrier(processes), context.SimpleQueue()
    workers = [context.Process(target=_loop, args=(model, picture, size, seconds, threads, ready, answers)) for _ in range(processes)]
    for process in workers:
        process.start()
    results = [answers.get() for _ in workers]
    for process in workers:
        process.join()
    durations = [seconds for result in results for seconds in result["took"]]
    p50, p99 = (1000 * np.percentile(durations, (50, 99))).tolist()
    cpu_ms = 1000 * sum(result["cpu"] for result in results) / len(durations)
    rate = sum(len(result["took"]) / result["lasted"] for result in results)
    return Load(rate, p50, p99, len(durations), cpu_ms=cpu_ms, memory_mb=sum(result["memory"] for result in results) / 1e6)


def _loop(model: Path, picture: bytes, size: int, seconds: float, threads: int, ready: Barrier, answers: Any) -> None:
    session = open_session(model, [CPU], threads)
    durations: list[float] = []

    def translate() -> None:
        pixels = decode(open_picture(picture, 50_000_000), size).pixels
        encode(run(session, pixels[None])[0], "jpeg", 90)

    translate()
    ready.wait()
    started_at, cpu_started_at = time.perf_counter(), time.process_time()
    while not durations or time.perf_counter() < started_at + seconds:
        now = time.perf_counter()
        translate()
        durations.append(time.perf_counter() - now)
    memory = psutil.Process().memory_full_info()
    lasted, cpu = time.perf_counter() - started_at, time.process_time() - cpu_started_at
    answers.put({"took": durations, "lasted": lasted, "cpu": cpu, "memory": getattr(memory, "pss", memory.rss)})


def run(session: InferenceSession, pictures: Pixels) -> NDArray[np.uint8]:
    """Translate uint8 (n, h, w, 3)."""
    return np.asarray(session.run(None, {"pictures": pictures})[0])


def best_batch(session: InferenceSession, pixels: Pixels, seconds: float, batches: tuple[int, ...] = BATCHES) -> Pixels:
    """Return the batch of copies of `pixels`, (h, w, 3), with the highest throughput."""
    stacks = [np.stack([pixels] * count) for count in batches]
    for stack in stacks:
        run(session, stack)
    return max(stacks, key=lambda stack: repeat(lambda: run(session, stack), seconds, len(stack)).per_second)


def mean_difference(a: InferenceSession, b: InferenceSession, pictures: list[Pixels]) -> float:
    """Return the mean absolute difference between two sessions on `pictures`, (h, w, 3) each, in steps of 1/255."""
    return float(np.mean([np.abs(run(a, picture[None]).astype(np.int16) - run(b, picture[None])).mean() for picture in pictures]))
