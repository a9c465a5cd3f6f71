"""What an operator sees: Prometheus metrics, logs, request ids, Server-Timing."""

import asyncio
import io
import logging
import os
import random
import re
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TextIO, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

log = structlog.get_logger()


@dataclass(frozen=True)
class Metrics:
    """Durations in seconds."""

    requests: Counter = field(default_factory=lambda: Counter("cyclegan_requests", "HTTP answers", ["path", "status"]))
    request_seconds: Histogram = field(
        default_factory=lambda: Histogram("cyclegan_request_seconds", "Arrival to answer", ["path"], buckets=SECONDS)
    )
    queue_seconds: Histogram = field(
        default_factory=lambda: Histogram("cyclegan_queue_seconds", "Waiting for a lane", ["direction"], buckets=SECONDS)
    )
    inference_seconds: Histogram = field(
        default_factory=lambda: Histogram("cyclegan_inference_seconds", "One session run", ["direction"], buckets=SECONDS)
    )
    batch_requests: Histogram = field(
        default_factory=lambda: Histogram("cyclegan_batch_requests", "Pictures a batch", ["direction"], buckets=(1, 2, 4, 8, 16, 32, 64))
    )
    batch_pixels: Histogram = field(
        default_factory=lambda: Histogram(
            "cyclegan_batch_pixels", "Pixels a batch", ["direction"], buckets=tuple(4**power for power in range(6, 13))
        )
    )
    queue_length: Gauge = field(
        default_factory=lambda: Gauge("cyclegan_queue_length", "Pictures waiting for a lane", multiprocess_mode="livesum")
    )
    queue_pixels: Gauge = field(
        default_factory=lambda: Gauge("cyclegan_queue_pixels", "Pixels waiting for a lane or in one", multiprocess_mode="livesum")
    )
    busy_seconds: Counter = field(
        default_factory=lambda: Counter(
            "cyclegan_lane_busy_seconds", "Session runs, all lanes together: its rate a lane is the utilisation"
        )
    )
    lanes: Gauge = field(
        default_factory=lambda: Gauge("cyclegan_lanes", "Session runs that may be in flight at once", multiprocess_mode="livesum")
    )
    rejected: Counter = field(
        default_factory=lambda: Counter(
            "cyclegan_rejected", "Pictures that were not run: queue_full, deadline, expired, hung_up", ["direction", "reason"]
        )
    )
    version: Gauge = field(
        default_factory=lambda: Gauge(
            "cyclegan_bundle_version", "Version that is served", ["direction"], multiprocess_mode="livemostrecent"
        )
    )


METRICS = Metrics()


def exposition() -> bytes:
    """All metrics, for Prometheus; of all workers together, where there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)


class Lines(io.TextIOBase):
    """Standard error. While an event loop runs, its lines are written together, up to LATE seconds late: each write lets go of
    the interpreter's lock, and has to wait for it when there is much to do. `write_out` those that are left before the loop ends."""

    LATE = 0.02

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._written_by: asyncio.AbstractEventLoop | None = None

    def write(self, text: str) -> int:
        self._lines.append(text)
        return len(text)

    def flush(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.write_out()
            return
        if self._written_by is not loop:
            self._written_by = loop
            loop.call_later(self.LATE, self.write_out)

    def write_out(self) -> None:
        self._written_by = None
        lines = []
        with suppress(IndexError):  # once there are none; other threads may be at it, too
            while True:
                lines.append(self._lines.popleft())
        sys.stderr.write("".join(lines))
        sys.stderr.flush()


LINES = Lines()


def configure_logging(log_format: str) -> None:
    """structlog on standard error: coloured lines for people, JSON for programs; `auto` looks at the terminal."""
    human = log_format == "human" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()] if human else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(processors=[*shared, *last], logger_factory=structlog.WriteLoggerFactory(cast(TextIO, LINES)))
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    ))  # fmt: skip
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


class Observer:
    """ASGI middleware: a request id for each request, given back as X-Request-ID; a line in the log, with what handlers put
    into `request.state.facts`; metrics."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._log = log.bind()  # once: to look up what is configured takes as long as to write a line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent_id = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = sent_id if SANE_ID.fullmatch(sent_id) else f"{random.getrandbits(128):032x}"
        facts: dict[str, Any] = {}
        scope.setdefault("state", {}).update(request_id=request_id, facts=facts)
        begun, status = time.monotonic(), 499  # the client hung up, unless an answer begins

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)  # each request is a task with a context of its own
        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            status = 500
            raise
        finally:
            seconds = time.monotonic() - begun
            path = getattr(scope.get("route"), "path", "other")
            METRICS.requests.labels(path, status).inc()
            METRICS.request_seconds.labels(path).observe(seconds)
            client = scope["client"][0] if scope.get("client") else None
            milliseconds = round(seconds * 1000, 1)
            self._log.info("request", method=scope["method"], path=scope["path"], status=status, ms=milliseconds, client=client, **facts)


def server_timing(seconds: dict[str, float]) -> str:
    """The Server-Timing header: durations in milliseconds, in the order given."""
    return ", ".join(f"{name};dur={duration * 1000:.1f}" for name, duration in seconds.items())
