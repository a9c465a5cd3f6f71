"""Request bodies, read within the limits for one request and for all requests together."""

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

MIN_RATE = 1000  # bytes per second; a slower body stalls
WEIGHT = 0.1  # of the latest body in the running mean of how long bodies are held
CONTENT_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")  # RFC 9530; caches key answers by it, so it must be verified


class Budget:
    """Bytes of all bodies that are being read or processed. There is one in each process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._seconds = 2.0  # mean time that a body is held

    def check(self, size: int) -> None:
        """Raise the problem 503 if there is no room for `size` more bytes."""
        excess = self.held + size - self.limit
        if excess > 0:
            raise problems.no_room_for_uploads(math.ceil(self._seconds * min(1, excess / max(1, self.held))))

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """Open one request's share, which is released on exit."""
        share, started_at = Share(self), time.monotonic()
        try:
            yield share
        finally:
            share.take(-share.held)
            self._seconds += WEIGHT * (time.monotonic() - started_at - self._seconds)


class Share:
    """The bytes of a budget that one request holds."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.held = 0

    def take(self, size: int) -> None:
        """Add `size` bytes. Raises the problem 503."""
        self.budget.check(size)
        self.held += size
        self.budget.held += size
        METRICS.upload_bytes.set(self.budget.held)


async def stream_body(request: Request, settings: Settings, share: Share) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives. Raises the problems 400, 408, 413 and 503, and ClientDisconnect."""
    limit, loop = settings.max_upload_bytes, asyncio.get_running_loop()
    length = int(request.headers.get("content-length", 0))
    if length > limit:
        raise problems.upload_too_large(limit)
    share.budget.check(length)
    digest = CONTENT_DIGEST.fullmatch(request.headers.get("content-digest", ""))
    hasher = hashlib.sha256()
    received, due = 0, loop.time() + settings.stall_seconds  # each interval must bring enough bytes for MIN_RATE
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
        received += len(chunk)
        if received >= MIN_RATE * settings.stall_seconds:
            received, due = 0, loop.time() + settings.stall_seconds
        if digest:
            hasher.update(chunk)
        if chunk:
            yield chunk
    if digest and base64.b64encode(hasher.digest()).decode() != digest[1]:
        raise problems.malformed_body("it does not match its Content-Digest header")
