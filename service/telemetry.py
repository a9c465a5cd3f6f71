"""What an operator sees: Prometheus metrics, logs, Server-Timing."""

import logging
import sys
import time
from typing import Any

import structlog
from opentelemetry import trace
from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Durations in seconds."""

    requests = Counter("cyclegan_requests", "HTTP answers", ["path", "status"])
    request_seconds = Histogram("cyclegan_request_seconds", "Arrival to answer", ["path"], buckets=SECONDS)
    key_requests = Counter("cyclegan_key_requests", "HTTP answers by the name of the key that was sent", ["key", "status"])
    stage_seconds = Histogram(
        "cyclegan_stage_seconds",
        "A picture's time by stage: upload, admission, codec, queue, lane, encode",
        ["stage", "direction"],
        buckets=SECONDS,
    )
    upload_bytes = Gauge("cyclegan_upload_bytes", "Bytes of bodies that are being read or worked on")
    queue_seconds = Histogram("cyclegan_queue_seconds", "Waiting for a lane", ["direction"], buckets=SECONDS)
    inference_seconds = Histogram("cyclegan_inference_seconds", "One session run", ["direction", "version"], buckets=SECONDS)
    batch_requests = Histogram("cyclegan_batch_requests", "Pictures a batch", ["direction", "version"], buckets=(1, 2, 4, 8, 16, 32, 64))
    batch_pixels = Histogram("cyclegan_batch_pixels", "Pixels a batch", ["direction"], buckets=tuple(4**power for power in range(6, 13)))
    queue_length = Gauge("cyclegan_queue_length", "Pictures waiting for a lane")
    queue_pixels = Gauge("cyclegan_queue_pixels", "Pixels waiting for a lane or in one")
    busy_seconds = Counter("cyclegan_lane_busy_seconds", "Session runs, all lanes together: its rate a lane is the utilisation")
    lanes = Gauge("cyclegan_lanes", "Session runs that may be in flight at once")
    rejected = Counter("cyclegan_rejected", "Pictures that were not run: queue_full, deadline, expired, hung_up", ["direction", "reason"])
    version = Gauge("cyclegan_bundle_version", "Version that is served", ["direction"])


METRICS = Metrics()
TRACER = trace.get_tracer("cyclegan")

STAGES = {"decode": "codec", "infer": "lane"}
"""Server-Timing's names for what the metrics name otherwise."""


def trace_id() -> str | None:
    """Of the request's trace, where OpenTelemetry is configured."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None


def observe_stages(direction: str, seconds: dict[str, float], began: float) -> None:
    """A picture's time by stage, from `began` (time.monotonic()) on, one after the other: metrics, each with its trace as an exemplar,
    and a span for each within the request's."""
    found = trace_id()
    at = time.time_ns() - round((time.monotonic() - began) * 1e9)
    for stage, duration in seconds.items():
        METRICS.stage_seconds.labels(STAGES.get(stage, stage), direction).observe(duration, {"trace_id": found} if found else None)
        if found:
            span, at = TRACER.start_span(stage, start_time=at), at + round(duration * 1e9)
            span.end(at)


def server_timing(seconds: dict[str, float]) -> str:
    """The Server-Timing header: durations in milliseconds, in the order given."""
    return ", ".join(f"{name};dur={duration * 1000:.1f}" for name, duration in seconds.items())


def configure_logging(log_format: str, level: int = logging.INFO) -> None:
    """structlog on standard error: coloured lines for people, JSON for programs; `auto` looks at the terminal. By way of `logging`,
    which goes on where a line cannot be written, as on a full disk."""
    human = log_format == "human" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()] if human else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    ))  # fmt: skip
    logging.basicConfig(handlers=[handler], level=level, force=True)


def _add_trace(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if found := trace_id():
        event["trace_id"] = found
    return event
