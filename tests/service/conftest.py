"""Shared by the tests of the service."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import MANIFEST
from service.costs import Rate
from service.engine.sessions import CPU
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


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


POISON = 13


class Inverting:
    """Stands in for a generator: gives 255 − x, notes the batches that it saw, and fails on any that holds poison."""

    direction, version, provider = "there", 1, CPU

    def __init__(self, rate: Rate | None = None) -> None:
        self.rate = rate or Rate(10**6, 0.001)
        self.batches: list[int] = []

    def run(self, pictures: list[NDArray[np.uint8]], alone: bool, device: int) -> NDArray[np.uint8]:
        self.batches.append(len(pictures))
        if any(picture[0, 0, 0] == POISON for picture in pictures):
            raise RuntimeError("poisoned")
        return 255 - np.stack(pictures)
