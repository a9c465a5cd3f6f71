"""Shared by the tests of the service."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import MANIFEST
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
