"""Sessions with no server around them: what a server's speed is held against."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from benchmarks.load import Load
from models.padding import Pixels

BATCHES = (1, 2, 4, 8, 16)


def repeat(work: Callable[[], object], seconds: float, pictures: int = 1, loops: int = 1) -> Load:
    """`work`, which does so many `pictures` each time, again and again, in so many threads at once."""
    took: list[float] = []
    cpu_begun, begun = time.process_time(), time.perf_counter()

    def loop() -> None:
        now = begun
        while now < begun + seconds:
            work()
            took.append(time.perf_counter() - now)
            now += took[-1]

    with ThreadPoolExecutor(loops) as threads:
        for ended in [threads.submit(loop) for _ in range(loops)]:
            ended.result()
    now = time.perf_counter()
    answers = pictures * len(took)
    p50, p99 = (1000 * np.percentile(took, (50, 99))).tolist()
    return Load(answers / (now - begun), p50, p99, answers, cpu_ms=1000 * (time.process_time() - cpu_begun) / answers)


def run(session: InferenceSession, pictures: Pixels) -> NDArray[np.uint8]:
    """uint8 (n, h, w, 3) to the same."""
    return np.asarray(session.run(None, {"pictures": pictures})[0])


def best_batch(session: InferenceSession, pixels: Pixels, seconds: float, batches: tuple[int, ...] = BATCHES) -> Pixels:
    """As many copies of `pixels`, (h, w, 3), in one run as give the most pictures a second."""
    stacks = [np.stack([pixels] * count) for count in batches]
    for stack in stacks:
        run(session, stack)
    return max(stacks, key=lambda stack: repeat(lambda: run(session, stack), seconds, len(stack)).per_second)


def mean_difference(a: InferenceSession, b: InferenceSession, pictures: list[Pixels]) -> float:
    """Between the translations of `pictures`, (h, w, 3) each, in steps of 1/255."""
    return float(np.mean([np.abs(run(a, each[None]).astype(np.int16) - run(b, each[None])).mean() for each in pictures]))
