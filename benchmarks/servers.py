"""Run the contenders as processes: start, measure, suspend and stop them."""

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
"""The most CPU seconds that an idle server takes in a quarter of a second."""


class Server:
    """A running contender. Pictures are sent to `url`."""

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
        """Wait until it translates `picture`."""
        end = time.monotonic() + START_SECONDS
        while post_at_once(self.url, [picture])[0].status != 200:
            if self._process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"error: {self.name} does not answer: see {self._log}")
            time.sleep(0.2)

    def measure(self, load: Callable[[str], Load]) -> Load:
        """Put a load on it, and measure the CPU time and memory of all its processes."""
        with self.resumed():
            earlier, peaks, done = self._cpu_seconds(), [self.memory_mb()], threading.Event()

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
            cpu_ms = 1000 * (self._cpu_seconds() - earlier) / outcome.answers if outcome.answers else None
            return replace(outcome, cpu_ms=cpu_ms, memory_mb=max(*peaks, self.memory_mb()))

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Resume it for a while. At other times it is suspended, so that it does not disturb the others."""
        self._for_each_process(psutil.Process.resume)
        try:
            yield
        finally:
            self._settle()
            self.suspend()

    def suspend(self) -> None:
        self._for_each_process(psutil.Process.suspend)

    def _settle(self) -> None:
        """Wait until it has finished the work that is left after a load."""
        end, earlier = time.monotonic() + SETTLE_SECONDS, -1.0
        while (now := self._cpu_seconds()) > earlier + IDLE and time.monotonic() < end:
            earlier = now
            time.sleep(0.25)

    def memory_mb(self) -> float:
        """Return the memory of all its processes; shared memory counts once (PSS) if the system reports that."""
        usages = self._for_each_process(psutil.Process.memory_full_info)
        return sum(getattr(memory, "pss", memory.rss) for memory in usages) / 1e6

    def stop(self) -> None:
        """Terminate it, and kill the processes that are left after 15 seconds."""
        self._for_each_process(psutil.Process.resume)
        tree = self._for_each_process(lambda process: process)
        with suppress(psutil.Error):
            self._process.terminate()
        for process in psutil.wait_procs(tree, timeout=15)[1]:
            with suppress(psutil.Error):
                process.kill()

    def _cpu_seconds(self) -> float:
        """Return the CPU time of all its processes, including those that have ended."""
        return sum(sum(times[:4]) for times in self._for_each_process(psutil.Process.cpu_times))

    def _for_each_process(self, function: Callable[[psutil.Process], T]) -> list[T]:
        """Return the results of `function` for all its processes, except those that have just ended."""
        results = []
        with suppress(psutil.Error):
            for process in (self._process, *self._process.children(recursive=True)):
                with suppress(psutil.Error):
                    results.append(function(process))
        return results


@contextmanager
def our_server(bundle: Bundle, logs: Path, picture: bytes, **settings: object) -> Iterator[Server]:
    """Run `python -m service` with the bundle and its neighbours; it is not suspended."""
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
    """Run the named contenders with the ONNX file `model`; all are suspended."""
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
