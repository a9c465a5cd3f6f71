"""`make soak`: mixed, hostile and slow traffic, with reloads, killed codecs and new versions, and whether anything grows or is lost.

Prints what was seen each half minute, and ends with 1 where memory, file handles, threads or temporary files grew, or an answer is missing.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import psutil

from models.bundle import MANIFEST
from service.client import Client, ClientError, ProblemError, UnprocessableError
from tests.conftest import PICTURES, Service, pair, running_service

PHOTOS = [path.read_bytes() for path in sorted(PICTURES.glob("*.jpg"))]
HOSTILE = [b"no picture", PHOTOS[1][:100_000], b"\x89PNG\r\n\x1a\n" + bytes(5000), b"GIF89a" + b"\xff" * 100]
SIZES = (64, 128, 256, 512)


@dataclass(frozen=True)
class Held:
    """By the service's processes together. At most so much more in the last third than in the second is no growth."""

    megabytes: float
    handles: float
    threads: float
    files: float

    def growth(self, before: "Held") -> list[str]:
        allowed = Held(30 + 0.1 * before.megabytes, 20, 5, 4)
        pairs = [(field.name, getattr(before, field.name), getattr(self, field.name)) for field in fields(self)]
        return [f"{name} grew from {old:.0f} to {new:.0f}" for name, old, new in pairs if new - old > getattr(allowed, name)]


def held(service: Service, temporary: Path) -> Held:
    root = psutil.Process(service.process.pid)
    total = Counter[str]()
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.Error):  # codecs come and go
            total["megabytes"] += process.memory_full_info().pss // 2**20
            total["handles"] += process.num_fds()
            total["threads"] += process.num_threads()
    return Held(total["megabytes"], total["handles"], total["threads"], len(list(temporary.iterdir())))


class Soak:
    def __init__(self, service: Service, models: Path, end: float) -> None:
        self.service, self.models, self.end = service, models, end
        self.outcomes = Counter[str]()
        self.kills = 0

    def repeat(self, work: Callable[[], None], pause: float) -> threading.Thread:
        def run() -> None:
            while time.monotonic() < self.end:
                work()
                time.sleep(random.uniform(0.5, 1.5) * pause)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def ordinary(self) -> None:
        with Client(self.service.url, patience=120) as client:
            direction = random.choice(["photo2monet", "monet2photo"])
            try:
                client.translate(random.choice(PHOTOS), direction, size=random.choice(SIZES))
                self.outcomes["answered"] += 1
            except UnprocessableError:  # its codec was killed
                self.outcomes["codec killed"] += 1
            except ClientError as error:
                self.outcomes[f"lost: {error}"] += 1

    def hostile(self) -> None:
        with Client(self.service.url) as client:
            try:
                client.translate(random.choice(HOSTILE), "photo2monet", size=random.choice(SIZES))
                self.outcomes["lost: a broken picture was translated"] += 1
            except ProblemError as error:
                self.outcomes["refused" if error.status in (415, 422, 503) else f"lost: {error.status} {error}"] += 1
            except ClientError as error:
                self.outcomes[f"lost: {error}"] += 1

    def slow(self) -> None:
        """Half a body, and then the client is gone; or an answer that is not waited for."""
        host, port = self.service.address.split(":")
        head = f"POST /translate?direction=photo2monet HTTP/1.1\r\nHost: x\r\nContent-Length: {len(PHOTOS[0])}\r\n\r\n"
        with suppress(OSError), socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall(head.encode() + random.choice([PHOTOS[0], PHOTOS[0][:20_000]]))
            time.sleep(random.uniform(0, 3))
        self.outcomes["hung up"] += 1

    def kill_codec(self) -> None:
        """One of the last generation: processes that have a parent below the service's own."""
        root = psutil.Process(self.service.process.pid)
        with suppress(psutil.Error, IndexError):
            codecs = [process for child in root.children() for process in child.children()]
            random.choice(codecs).kill()
            self.kills += 1

    def reload(self) -> None:
        self.service.process.send_signal(signal.SIGHUP)
        self.outcomes["reloads"] += 1

    def change_version(self) -> None:
        """One more version of photo2monet, and the oldest of three is gone."""
        folder = self.models / "photo2monet"
        manifest = json.loads((folder / MANIFEST).read_text())
        newest = max(manifest["versions"], key=lambda version: version["version"])
        number = newest["version"] + 1
        shutil.copytree(folder / str(newest["version"]), folder / str(number))
        files = [file | {"path": f"{number}/{Path(file['path']).name}"} for file in newest["files"]]
        manifest["versions"] = [*manifest["versions"][-1:], newest | {"version": number, "files": files}]
        (folder / "new.json").write_text(json.dumps(manifest))
        (folder / "new.json").replace(folder / MANIFEST)
        self.reload()
        self.outcomes["versions"] += 1
        kept = {str(version["version"]) for version in manifest["versions"]}
        for old in (path for path in folder.iterdir() if path.is_dir() and path.name not in kept):
            shutil.rmtree(old)


def soak(seconds: float) -> list[str]:
    """What is wrong; nothing, if all is well."""
    samples: list[Held] = []
    with tempfile.TemporaryDirectory(prefix="cyclegan-soak-") as name:
        models, temporary = Path(name) / "models", Path(name) / "temporary"
        shutil.copytree(pair(), models)
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        with running_service(models=models, log_format="json") as service:
            run = Soak(service, models, time.monotonic() + seconds)
            threads = [run.repeat(run.ordinary, 0.02) for _ in range(4)]
            threads += [run.repeat(run.hostile, 0.3), run.repeat(run.slow, 0.5), run.repeat(run.slow, 0.5)]
            threads += [run.repeat(run.kill_codec, 5), run.repeat(run.reload, 7), run.repeat(run.change_version, max(15, seconds / 40))]
            told = time.monotonic()
            while time.monotonic() < run.end:
                time.sleep(min(1, seconds / 60))
                samples.append(held(service, temporary))
                if time.monotonic() - told > 30:
                    told = time.monotonic()
                    print(samples[-1], dict(run.outcomes), flush=True)
            for thread in threads:
                thread.join()
            run.ordinary()
            time.sleep(3)
            left = held(service, temporary)
    third = len(samples) // 3
    before, after = (_median(samples[third * number : third * (number + 1)]) for number in (1, 2))
    print(before, after, left, dict(run.outcomes), f"{run.kills} codecs killed", sep="\n")
    wrong = after.growth(before) + [outcome for outcome in run.outcomes if outcome.startswith("lost")]
    wrong += [f"{left.files:.0f} temporary files are left"] if left.files > before.files else []
    wrong += [] if run.outcomes["codec killed"] <= 2 * run.kills else ["more pictures failed than codecs were killed"]
    return wrong + ([] if run.outcomes["answered"] else ["nothing was answered"])


def _median(samples: list[Held]) -> Held:
    return Held(*(statistics.median(getattr(sample, field.name) for sample in samples) for field in fields(Held)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    if wrong := soak(parser.parse_args().seconds):
        sys.exit("error: " + "; ".join(wrong))
    print("nothing grew, and nothing was lost")


if __name__ == "__main__":
    main()
