"""Folders that are written to: found out before the work, written whole, and by one process at a time."""

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from training.config import ConfigError

LOCK = ".lock"
OWNER = ".lock.json"


def check_writable(folder: Path) -> None:
    """Raises ConfigError where nothing can be written in `folder`, or it cannot be made. Leaves nothing behind."""
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {there} {'is no folder' if there.is_file() else error.strerror}") from None


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write beside the old one, which it takes the place of at the end. Where that fails the old one is as it was, and
    nothing is left beside it."""
    unfinished = path.with_suffix(".tmp")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and not error.filename:  # of a write to an open file
            error.filename = str(path)
        raise


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other processes from training the run meanwhile. Raises ConfigError where one does already, and says which."""
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ["RANK"] != "0":  # of several processes of one run the first locks it
        yield
        return
    check_writable(run)
    lock = FileLock(run / LOCK, timeout=0)
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ConfigError(f"{run} is being trained by {_owner(run)}: wait for it, stop it, or name another --run") from None
    try:
        owner = {"process": os.getpid(), "host": socket.gethostname()}
        with suppress(OSError):  # a full disk, which training tells
            (run / OWNER).write_text(json.dumps(owner))
        for unfinished in run.glob("*.tmp"):  # of a process that was killed
            unfinished.unlink()
        yield
    finally:
        (run / OWNER).unlink(missing_ok=True)
        lock.release()


def _owner(run: Path) -> str:
    try:
        owner = json.loads((run / OWNER).read_text())
        return f"process {owner['process']} on {owner['host']}"
    except (OSError, ValueError, KeyError):
        return "another process"
