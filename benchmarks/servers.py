"""The contenders as processes: started, suspended while others are measured, watched while they are, and stopped."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import psutil

from benchmarks.load import Load, post_at_once
from models.bundle import Bundle

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
OURS = "this service"
OTHERS = {
    "plain FastAPI": "plain_fastapi.py",
    "LitServe": "litserve_api.py",
    "BentoML": "bentoml_service.py",
    "Ray Serve": "ray_deployment.py",
}
START_SECONDS = 120
SETTLE_SECONDS = 20
IDLE = 0.05
"""CPU seconds that an idle server may take in a quarter of a second."""


class Server:
    """A running contender. `url` is where pictures go."""

    def __init__(self, name: str, command: list[str], path: str, environment: dict[str, str], logs: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.name = name
        self.url = f"http://127.0.0.1:{port}{path}"
        self._log = logs / f"{name.replace(' ', '-')}.log"
        logs.mkdir(parents=True, exist_ok=True)
        with self._log.open("w") as log:
            self._process = psutil.Popen(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env=os.environ | {"PORT": str(port), "CYCLEGAN_PORT": str(port), "CYCLEGAN_HOST": "127.0.0.1"} | environment,
            )  # fmt: skip

    def wait(self, picture: bytes) -> None:
        """Until it translates `picture`."""
        end = time.monotonic() + START_SECONDS
        while post_at_once(self.url, [picture])[0].status != 200:
            if self._process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"error: {self.name} does not answer; {self._log} tells why")
            time.sleep(0.2)

    def measure(self, load: Callable[[str], Load]) -> Load:
        """What comes of a load on its URL, with the CPU time and the memory of all its processes."""
        with self.awake():
            before, peaks, done = self._cpu_seconds(), [self.memory_mb()], threading.Event()

            def watch() -> None:
                while not done.wait(1):
                    peaks.append(self.memory_mb())

            watcher = threading.Thread(target=watch)
            watcher.start()
            try:
                outcome = load(self.url)
            finally:
                done.set()
                watcher.join()
            cpu_ms = 1000 * (self._cpu_seconds() - before) / outcome.answers if outcome.answers else None
            return replace(outcome, cpu_ms=cpu_ms, memory_mb=max(*peaks, self.memory_mb()))

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Otherwise it is suspended, so that it takes nothing from the others."""
        self._ask(psutil.Process.resume)
        try:
            yield
        finally:
            self._settle()
            self.suspend()

    def suspend(self) -> None:
        self._ask(psutil.Process.suspend)

    def _settle(self) -> None:
        """Wait until it has done what a load has left it with, which would otherwise slow down the next."""
        end, before = time.monotonic() + SETTLE_SECONDS, -1.0
        while (now := self._cpu_seconds()) > before + IDLE and time.monotonic() < end:
            before = now
            time.sleep(0.25)

    def memory_mb(self) -> float:
        """Of all its processes; what they share counts once (PSS), where the system tells."""
        each = self._ask(psutil.Process.memory_full_info)
        return sum(getattr(memory, "pss", memory.rss) for memory in each) / 1e6

    def stop(self) -> None:
        """Ask it to end; what of it is still there after a while is killed."""
        self._ask(psutil.Process.resume)
        tree = self._ask(lambda process: process)
        with suppress(psutil.Error):
            self._process.terminate()
        for process in psutil.wait_procs(tree, timeout=15)[1]:
            with suppress(psutil.Error):
                process.kill()

    def _cpu_seconds(self) -> float:
        """Of those that have ended, too."""
        return sum(sum(times[:4]) for times in self._ask(psutil.Process.cpu_times))

    def _ask(self, question: Callable[[psutil.Process], T]) -> list[T]:
        """What each of its processes says; those that have just ended say nothing."""
        answers = []
        with suppress(psutil.Error):
            for process in (self._process, *self._process.children(recursive=True)):
                with suppress(psutil.Error):
                    answers.append(question(process))
        return answers


@contextmanager
def our_server(bundle: Bundle, logs: Path, picture: bytes, **settings: object) -> Iterator[Server]:
    """`python -m service` with the bundle and what lies beside it, awake."""
    settings = {"models": bundle.folder.parent} | settings
    environment = {f"CYCLEGAN_{key.upper()}": str(value) for key, value in settings.items()}
    server = Server(OURS, [sys.executable, "-m", "service"], f"/translate?direction={bundle.direction}", environment, logs)
    try:
        server.wait(picture)
        yield server
    finally:
        server.stop()


@contextmanager
def other_servers(names: list[str], python: Path, model: Path, logs: Path, picture: bytes, deadline: float) -> Iterator[list[Server]]:
    """Those of OTHERS that are named, each with the ONNX file `model`, all suspended."""
    environment = {"MODEL": str(model), "DEADLINE": str(deadline)}
    with ExitStack() as stack:
        servers = []
        for name in names:
            command = [str(python), str(Path(__file__).parent / "contenders" / OTHERS[name])]
            servers.append(Server(name, command, "/translate", environment, logs))
            stack.callback(servers[-1].stop)
        for server in servers:
            server.wait(picture)
        for server in servers:
            server.suspend()
        yield servers
