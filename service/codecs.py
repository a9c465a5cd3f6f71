"""A few processes that decode and encode: each can be killed at any moment, and takes nothing with it but its own picture.

A pool of our own, since one SIGKILL of a worker of Pebble's stops its whole pool, where the worker held the channel that all share,
and a cancelled task runs on for 60 ms. Here each process has a socket of its own. They are forked, in milliseconds, from a small
parent that has imported codec_tasks.py: Pillow, numpy and pictures/, and nothing else of the service.
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
HEAD = struct.Struct("!QQ")
PID = struct.Struct("!i")
RETRY_SECONDS = 1.0
"""Until a codec that could not be started is tried again."""


class CodecDied(Exception):
    """The process ended in the middle of a task, or was killed since the task took longer than it may."""


class Codecs:
    """`count` processes, each with no more than `memory` bytes of address space."""

    def __init__(self, count: int, memory: int) -> None:
        self.count = count
        self._memory = memory
        self._free: list[_Codec] = []
        self._waiting: list[tuple[bool, int, asyncio.Future[_Codec]]] = []
        self._numbers = itertools.count()

    def start(self) -> None:
        """Blocks until they are there, for about a second. Raises OSError."""
        self._start_parent()
        self._free = [self._new() for _ in range(self.count)]

    def stop(self) -> None:
        """Ends all of them, whatever they are at."""
        self._control.close()
        self._parent.wait()

    async def run(self, task: Callable[..., T], *arguments: Any, limit: float, first: bool = False) -> tuple[T, float]:
        """What `task`, a function of codec_tasks.py, returns in a codec, and for how many seconds that was taken.

        Those that go `first` are begun before others that wait. Cancelled, or after `limit` seconds, it is killed.
        Raises CodecDied, and what the task raises.
        """
        codec = await self._next(first)
        begun, whole = time.monotonic(), False
        try:
            async with asyncio.timeout(limit):
                error, result = await codec.call(task, arguments)
            whole = True
        except TimeoutError:
            raise CodecDied(f"it took longer than {limit:.0f} s") from None
        except OSError:
            raise CodecDied("its process ended") from None
        finally:
            if whole:
                self._give(codec)
            else:
                self._replace(codec)
        if error:
            raise error
        return result, time.monotonic() - begun

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
            if turn.done() and not turn.cancelled():  # given one and cancelled at once
                self._give(turn.result())
            raise

    def _give(self, codec: "_Codec") -> None:
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(codec)
                return
        self._free.append(codec)

    def _replace(self, codec: "_Codec") -> None:
        """Kills it; another takes its place."""
        codec.channel.close()
        try:
            self._control.sendall(PID.pack(codec.pid))
        except OSError:  # their parent has ended, too
            _kill(codec.pid)
        self._add()

    def _add(self) -> None:
        """One more, as soon as the system has room for it: it may be out of files, processes or memory."""
        try:
            self._give(self._new())
        except OSError as error:
            log.warning("a codec cannot be started: %s", error)
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
            except OSError:  # their parent has ended, too
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
        """The number of a new process, which has the `channel`. Raises OSError."""
        socket.send_fds(self._control, [PID.pack(0)], [channel.fileno()])
        if not (pid := self._control.recv(PID.size)):
            raise ConnectionResetError("the codecs' parent has ended")
        return PID.unpack(pid)[0]


class _Codec:
    """One process, and the socket to it."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self.channel = channel
        self.pid = pid

    @property
    def alive(self) -> bool:
        """Of one that has nothing to do."""
        try:
            return self.channel.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    async def call(self, *request: Any) -> Any:
        """Its answer. Raises OSError where it has ended."""
        loop, reading = asyncio.get_running_loop(), unpacked()
        for part in packed(request):
            await loop.sock_sendall(self.channel, part)
        wanted = next(reading)
        while True:
            memory, done = np.empty(wanted, np.uint8).data, 0
            while done < wanted:
                received = await loop.sock_recv_into(self.channel, memory[done:])
                if not received:
                    raise ConnectionResetError
                done += received
            try:
                wanted = reading.send(memory)
            except StopIteration as end:
                return end.value


def packed(value: Any) -> list[bytes | memoryview]:
    """In parts: arrays go as they are, uncopied, behind the rest."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, 5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    return [HEAD.pack(len(pickled), len(views)) + struct.pack(f"!{len(views)}Q", *map(len, views)) + pickled, *views]


def unpacked() -> Generator[int, memoryview, Any]:
    """Asks for so many bytes, is sent them, and in the end returns what was packed."""
    size, count = HEAD.unpack((yield HEAD.size))
    head = yield 8 * count + size
    buffers = []
    for size in struct.unpack_from(f"!{count}Q", head):
        buffers.append((yield size))
    return pickle.loads(head[8 * count :], buffers=buffers)


def _be_parent(control: socket.socket, memory: int) -> None:
    """Forks a codec for each socket that is sent, and kills those whose number is, until `control` is closed: then all of them."""
    import service.codec_tasks  # noqa: F401  # so that it need not be imported in each

    codecs: set[int] = set()
    while True:
        message, sockets, _, _ = socket.recv_fds(control, PID.size, 1)
        if not message:
            break
        (pid,) = PID.unpack(message)
        if pid:
            _kill(pid)
            codecs.discard(pid)
            continue
        pid = os.fork()
        if not pid:
            control.close()
            _be_codec(socket.socket(fileno=sockets[0]), memory)
        os.close(sockets[0])
        codecs.add(pid)
        control.sendall(PID.pack(pid))
    for pid in codecs:
        _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):  # of another parent
        os.waitpid(pid, 0)


def _be_codec(channel: socket.socket, memory: int) -> NoReturn:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(EOFError, OSError):
        while True:
            _work(channel)
    os._exit(0)


def _work(channel: socket.socket) -> None:
    reading = unpacked()
    wanted = next(reading)
    while True:
        memory = np.empty(wanted, np.uint8).data
        if channel.recv_into(memory, flags=socket.MSG_WAITALL) < wanted:
            raise EOFError
        try:
            wanted = reading.send(memory)
        except StopIteration as end:
            task, arguments = end.value
            break
    error = result = None
    try:
        result = task(*arguments)
    except Exception as raised:
        error = _sendable(raised.with_traceback(None))
    for part in packed((error, result)):
        channel.sendall(part)


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(repr(error))
    return error


if __name__ == "__main__":
    _be_parent(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
