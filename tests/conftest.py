"""Shared by the rooms' tests: real pictures, and the service as a real process."""

import atexit
import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "tests" / "photographs"
PHOTO = PICTURES / "china.jpg"


@dataclass(frozen=True)
class Service:
    """A running `python -m service`."""

    url: str
    process: subprocess.Popen
    client: httpx.Client

    @property
    def address(self) -> str:
        """host:port"""
        return self.url.removeprefix("http://")

    def translate(self, content: bytes, direction: str = "photo2monet", name: str = "photo.jpg", **parameters: Any) -> httpx.Response:
        headers = parameters.pop("headers", {})
        files = {"image": (name, content)}
        return self.client.post("/translate", params={"direction": direction, **parameters}, files=files, headers=headers)


@cache
def pair() -> Path:
    """A folder of two of the repository's bundles, photo2monet and its inverse: loading all takes a test thrice as long."""
    folder = Path(tempfile.mkdtemp(prefix="cyclegan-pair-"))
    atexit.register(shutil.rmtree, folder)
    for direction in ("photo2monet", "monet2photo"):
        shutil.copytree(ROOT / "models" / direction, folder / direction)
    return folder


@contextmanager
def running_service(**settings: Any) -> Iterator[Service]:
    """The service, ready unless `ready` is False, with the pair, and on a free port, unless `settings`, as in Settings, name others.
    Its log goes into the file `log`, or where the test's own goes."""
    port = settings.pop("port", None) or free_port()
    ready, log = settings.pop("ready", True), settings.pop("log", None)
    settings = {"models": pair()} | settings
    environment = os.environ | {f"CYCLEGAN_{name.upper()}": str(value) for name, value in settings.items()}
    environment |= {"CYCLEGAN_PORT": str(port), "CYCLEGAN_HOST": "127.0.0.1"}
    process = subprocess.Popen([sys.executable, "-m", "service"], cwd=ROOT, env=environment, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            if ready:
                wait_until(lambda: is_ready(client, process), 180)  # on a machine that others use, too
            yield Service(url, process, client)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(90)


def is_ready(client: httpx.Client, process: subprocess.Popen) -> bool:
    assert process.poll() is None, "the service ended; its log tells why"
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.05)


def free_port() -> int:
    """Below those that systems give to programs that ask for any, so that none of them takes it before it is used."""
    while True:
        port = secrets.choice(range(20_000, 32_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """One service for all tests that need no settings of their own."""
    with running_service() as running:
        yield running


@pytest.fixture(scope="session")
def photo() -> bytes:
    return PHOTO.read_bytes()


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def assert_problem(response: httpx.Response, status: int) -> dict:
    """An RFC 9457 document that says what to do."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"]
    assert problem["title"]
    assert len(problem["detail"]) > 20
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem
