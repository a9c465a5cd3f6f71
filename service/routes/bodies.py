"""A request's body, as far as the limits let it in: of one request, and of all together."""

import asyncio
import base64
import hashlib
import math
import re
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from service import problems
from service.settings import Settings
from service.telemetry import METRICS

LEAST_RATE = 1000
"""Bytes a second, below which a body stalls."""
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")
"""A Content-Digest (RFC 9530). Caches keep answers by it, so that it must be true."""
WEIGHT = 0.1
"""Of the latest body in the mean of how long bodies are held."""


class Budget:
    """Bytes of all bodies that are being read or worked on. One a process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._seconds = 2.0
        """How long a body is held, in the mean."""

    def check(self, more: int) -> None:
        """Raises the problem 503 where there is no room for so many bytes more."""
        short = self.held + more - self.limit
        if short > 0:
            raise problems.no_room_for_uploads(math.ceil(self._seconds * min(1, short / max(1, self.held))))

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """One request's, given back at its end."""
        share, begun = Share(self), time.monotonic()
        try:
            yield share
        finally:
            share.take(-share.held)
            self._seconds += WEIGHT * (time.monotonic() - begun - self._seconds)


class Share:
    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.held = 0

    def take(self, size: int) -> None:
        """Raises the problem 503."""
        self.budget.check(size)
        self.held += size
        self.budget.held += size
        METRICS.upload_bytes.set(self.budget.held)


async def read_body(request: Request, settings: Settings, share: Share) -> bytes:
    """All of it, in memory. Raises the problems 408, 413 and 503."""
    return b"".join([chunk async for chunk in stream_body(request, settings, share)])


async def stream_body(request: Request, settings: Settings, share: Share) -> AsyncGenerator[bytes, None]:
    """As it comes in. Each piece of so many bytes that LEAST_RATE is kept must be there in time. Raises as `read_body`."""
    limit, loop = settings.max_upload_bytes, asyncio.get_running_loop()
    told = int(request.headers.get("content-length", 0))
    if told > limit:
        raise problems.upload_too_large(limit)
    share.budget.check(told)
    piece, due = 0, loop.time() + settings.stall_seconds
    digest = _DIGEST.fullmatch(request.headers.get("content-digest", ""))
    hashed = hashlib.sha256()
    more = True
    while more:
        try:
            async with asyncio.timeout_at(due):
                message = await request.receive()
        except TimeoutError:
            raise problems.stalled(settings.stall_seconds) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        if share.held + len(chunk) > limit:
            raise problems.upload_too_large(limit)
        share.take(len(chunk))
        piece += len(chunk)
        if piece >= LEAST_RATE * settings.stall_seconds:
            piece, due = 0, loop.time() + settings.stall_seconds
        if digest:
            hashed.update(chunk)
        if chunk:
            yield chunk
    if digest and base64.b64encode(hashed.digest()).decode() != digest[1]:
        raise problems.malformed_body("it is not what its Content-Digest says")
