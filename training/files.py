"""Writing to folders: checks before long work, files that are replaced as a whole, and a lock for each run."""

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
    """Raise ConfigError if `folder` cannot be written or created. Leaves nothing behind."""
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        reason = "is not a folder" if existing.is_file() else error.strerror
        raise ConfigError(f"{folder} cannot be written: {existing} {reason}") from None


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` at the end. If an error occurs, the old file stays and the temporary one is removed."""
    unfinished = path.with_suffix(".tmp")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and not error.filename:  # writing to an open file does not set it
            error.filename = str(path)
        raise


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` with `open_atomic`."""
    with open_atomic(path) as file:
        file.write(content)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other processes from training the run. Raises ConfigError, with the other process's id, if one does so already."""
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ["RANK"] != "0":  # the first process of a distributed run locks it
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
        with suppress(OSError):  # training reports a full disk
            (run / OWNER).write_text(json.dumps(owner))
        for unfinished in run.glob("*.tmp"):  # left by a process that was killed
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
