"""A pool of processes that decode and encode pictures. Each can be killed at any moment, which only affects its own picture.

Pebble's pool does not allow this: killing a worker that holds the shared channel stops the whole pool, and a cancelled task runs on for
60 ms. Here each process has its own socket. The processes are forked, within milliseconds, from a small parent process that has imported
codec_tasks.py (Pillow, numpy and pictures/) and nothing else of the service.
"""

import asyncio
import heapq
import itertools
import logging
import os
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

T = TypeVar("T")

log = logging.getLogger(__name__)

ROOT = Path(__file__).parent.parent
PID_BYTES = 4
RETRY_SECONDS = 1.0  # until the next attempt if a process cannot be started


class CodecDied(Exception):
    """The process ended during a task, or was killed because the task took too long."""


class Codecs:
    """`count` processes, each limited to `memory` bytes of address space."""

    def __init__(self, count: int, memory: int) -> None:
        self.count = count
        self._memory = memory
        self._free: list[_Codec] = []
        self._waiting: list[tuple[bool, int, asyncio.Future[_Codec]]] = []
        self._numbers = itertools.count()

    def start(self) -> None:
        """Start all processes, and block until they run, for about a second. Raises OSError."""
        self._start_parent()
        self._free = [self._new() for _ in range(self.count)]

    def stop(self) -> None:
        """Kill all processes."""
        self._control.close()
        self._parent.wait()

    async def run(self, task: Callable[..., T], *arguments: Any, limit: float, first: bool = False) -> tuple[T, float]:
        """Run `task`, a function of codec_tasks.py, and return its result and the seconds that it took.

        A task with `first` goes before all others that wait. A task that is cancelled, or takes longer than `limit` seconds, is killed.
        Raises CodecDied, and whatever the task raises.
        """
        codec = await self._next(first)
        started_at, complete = time.monotonic(), False
        try:
            async with asyncio.timeout(limit):
                error, result = await codec.call(task, arguments)
            complete = True
        except TimeoutError:
            raise CodecDied(f"it took longer than {limit:.0f} s") from None
        except OSError:
            raise CodecDied("its process ended") from None
        finally:
            if complete:
                self._release(codec)
            else:
                self._replace(codec)
        if error:
            raise error
        return result, time.monotonic() - started_at

    async def _next(self, first: bool) -> "_Codec":
        while self._free:
            codec = self._free.pop()
            if codec.alive:
                return codec
            self._replace(codec)
        turn: asyncio.Future[_Codec] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (not first, next(self._numbers), turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it got a codec and was cancelled right after
                self._release(turn.result())
            raise

    def _release(self, codec: "_Codec") -> None:
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(codec)
                return
        self._free.append(codec)

    def _replace(self, codec: "_Codec") -> None:
        """Kill a codec and start another."""
        codec.channel.close()
        try:
            self._control.sendall(codec.pid.to_bytes(PID_BYTES))
        except OSError:  # the parent process has ended
            _kill(codec.pid)
        self._add()

    def _add(self) -> None:
        """Start a codec; retry while the system has no files, processes or memory for it."""
        try:
            self._release(self._new())
        except OSError as error:
            log.warning("a codec process cannot be started: %s", error)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._add)

    def _new(self) -> "_Codec":
        """Raises OSError."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**21)
        with theirs:
            try:
                return _Codec(ours, self._fork(theirs))
            except OSError:  # the parent process has ended
                self._control.close()
                self._start_parent()
                return _Codec(ours, self._fork(theirs))

    def _start_parent(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "service.codecs", str(theirs.fileno()), str(self._memory)],
                cwd=ROOT, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def _fork(self, channel: socket.socket) -> int:
        """Start a process that serves `channel`, and return its id. Raises OSError."""
        socket.send_fds(self._control, [bytes(PID_BYTES)], [channel.fileno()])
        if not (pid := self._control.recv(PID_BYTES)):
            raise ConnectionResetError("the codecs' parent process has ended")
        return int.from_bytes(pid)


class _Codec:
    """One process and the socket to it."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self.channel = channel
        self.pid = pid

    @property
    def alive(self) -> bool:
        """Whether an idle codec is still alive."""
        try:
            return self.channel.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    async def call(self, *request: Any) -> Any:
        """Send a request and return the response. Raises OSError if the process has ended."""
        loop = asyncio.get_running_loop()
        for part in _pack(request):
            await loop.sock_sendall(self.channel, part)
        reader = _unpack()
        size = next(reader)
        while True:
            memory, done = np.empty(size, np.uint8).data, 0
            while done < size:
                received = await loop.sock_recv_into(self.channel, memory[done:])
                if not received:
                    raise ConnectionResetError
                done += received
            try:
                size = reader.send(memory)
            except StopIteration as end:
                return end.value


def _pack(value: Any) -> list[bytes | memoryview]:
    """Pickle a value into parts, each to be sent as it is. Arrays are not copied: each is a part of its own."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, 5, buffer_callback=buffers.append)
    parts: list[bytes | memoryview] = [pickled, *(buffer.raw() for buffer in buffers)]
    return [struct.pack(f"!Q{len(parts)}Q", len(parts), *map(len, parts)), *parts]


def _unpack() -> Generator[int, memoryview, Any]:
    """Yield the size of each piece of data to receive, expect that piece to be sent in, and return the value at the end."""
    (count,) = struct.unpack("!Q", (yield 8))
    parts = []
    for size in struct.unpack(f"!{count}Q", (yield 8 * count)):
        parts.append((yield size))
    return pickle.loads(parts[0], buffers=parts[1:])


def _run_parent(control: socket.socket, memory: int) -> None:
    """Fork a codec for each socket that arrives on `control`, and kill each process whose id arrives. When it is closed, kill all."""
    import service.codec_tasks  # noqa: F401  # import it once, before the forks

    codecs: set[int] = set()
    while True:
        message, sockets, _, _ = socket.recv_fds(control, PID_BYTES, 1)
        if not message:
            break
        if pid := int.from_bytes(message):
            _kill(pid)
            codecs.discard(pid)
            continue
        pid = os.fork()
        if not pid:
            control.close()
            _run_codec(socket.socket(fileno=sockets[0]), memory)
        os.close(sockets[0])
        codecs.add(pid)
        control.sendall(pid.to_bytes(PID_BYTES))
    for pid in codecs:
        _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):  # not our own child
        os.waitpid(pid, 0)


def _run_codec(channel: socket.socket, memory: int) -> NoReturn:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(EOFError, OSError):
        while True:
            task, arguments = _receive(channel)
            error = result = None
            try:
                result = task(*arguments)
            except Exception as raised:
                error = _picklable(raised.with_traceback(None))
            for part in _pack((error, result)):
                channel.sendall(part)
    os._exit(0)


def _receive(channel: socket.socket) -> Any:
    """Wait for a request. Raises EOFError when the channel is closed."""
    reader = _unpack()
    size = next(reader)
    while True:
        memory = np.empty(size, np.uint8).data
        if channel.recv_into(memory, flags=socket.MSG_WAITALL) < size:
            raise EOFError
        try:
            size = reader.send(memory)
        except StopIteration as end:
            return end.value


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(repr(error))
    return error


if __name__ == "__main__":
    _run_parent(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
