"""Shared by the tests of the service."""

import asyncio
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import MANIFEST
from service.engine.catalog import Catalog, Generator
from service.engine.lanes import Lanes
from service.engine.queue import Queue, Rate
from service.engine.sessions import CPU, CUDA
from tests.conftest import pair


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Only one of the pair's directions, and only in fp32: which precision is faster may change between two versions."""
    folder = tmp_path / "photo2monet"
    shutil.copytree(pair() / "photo2monet", folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    for version in manifest["versions"]:
        version["files"] = [file for file in version["files"] if file["precision"] == "fp32"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return tmp_path


@pytest.fixture(scope="module")
def generator() -> Generator:
    return next(each for each in Catalog(pair(), (CPU,), threads=1).open_new() if each.direction == "photo2monet")


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def through_gpu_lanes(
    generator: Generator, pictures: list[NDArray[np.uint8]], max_batch_pixels: int, lanes: int
) -> list[NDArray[np.uint8]]:
    """What `generator` makes of pictures that wait together, by lanes that take its session for one on a GPU."""

    async def run() -> list[NDArray[np.uint8]]:
        queue = Queue(max_pixels=10**9, max_batch_pixels=max_batch_pixels, lanes=lanes)
        queue.rates[generator.direction] = Rate(10**6, 1)
        catalog = SimpleNamespace(generators={generator.direction: generator}, providers=[CUDA, CPU])
        running = Lanes(queue, catalog)  # type: ignore[arg-type]
        requests = [queue.submit(generator.direction, picture, queue.clock() + 30) for picture in pictures]
        running.start()
        answers = await asyncio.gather(*(request.answer for request in requests))
        await running.stop()
        return answers

    return asyncio.run(run())
