"""Prometheus metrics, traces and logs."""

import logging
import sys
import time
from typing import Any

import structlog
from opentelemetry import trace
from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """All durations are in seconds."""

    requests = Counter("cyclegan_requests", "HTTP responses", ["path", "status"])
    request_seconds = Histogram("cyclegan_request_seconds", "Time from request to response", ["path"], buckets=SECONDS)
    key_requests = Counter("cyclegan_key_requests", "HTTP responses by the name of the request's key", ["key", "status"])
    stage_seconds = Histogram(
        "cyclegan_stage_seconds", "Time by stage: upload, admission, codec, queue, lane, encode", ["stage", "direction"], buckets=SECONDS
    )
    upload_bytes = Gauge("cyclegan_upload_bytes", "Bytes of bodies that are being read or processed")
    queue_seconds = Histogram("cyclegan_queue_seconds", "Time waiting for a lane", ["direction"], buckets=SECONDS)
    inference_seconds = Histogram("cyclegan_inference_seconds", "Time of one session run", ["direction", "version"], buckets=SECONDS)
    batch_requests = Histogram("cyclegan_batch_requests", "Pictures per batch", ["direction", "version"], buckets=(1, 2, 4, 8, 16, 32, 64))
    batch_pixels = Histogram("cyclegan_batch_pixels", "Pixels per batch", ["direction"], buckets=tuple(4**power for power in range(6, 13)))
    queue_length = Gauge("cyclegan_queue_length", "Pictures waiting for a lane")
    queue_pixels = Gauge("cyclegan_queue_pixels", "Pixels waiting for a lane or in one")
    busy_seconds = Counter("cyclegan_lane_busy_seconds", "Time of session runs in all lanes; its rate per lane is the utilization")
    lanes = Gauge("cyclegan_lanes", "Largest number of session runs at once")
    rejected = Counter("cyclegan_rejected", "Pictures that were not run: queue_full, deadline, expired, hung_up", ["direction", "reason"])
    version = Gauge("cyclegan_bundle_version", "Newest version that is served", ["direction"])


METRICS = Metrics()
TRACER = trace.get_tracer("cyclegan")

STAGES = {"decode": "codec", "infer": "lane"}  # names in Server-Timing that differ from those in the metrics


def trace_id() -> str | None:
    """Return the id of the request's trace if OpenTelemetry is configured."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None


def exemplar() -> dict[str, str] | None:
    """Return the exemplar that links a measurement to the request's trace."""
    current = trace_id()
    return {"trace_id": current} if current else None


def observe_stages(direction: str, seconds: dict[str, float], started_at: float) -> None:
    """Record successive stages from `started_at` on (a time.monotonic() value), as metrics and as spans within the request's span."""
    start = time.time_ns() - round((time.monotonic() - started_at) * 1e9)
    for stage, duration in seconds.items():
        METRICS.stage_seconds.labels(STAGES.get(stage, stage), direction).observe(duration, exemplar())
        if trace_id():
            span, start = TRACER.start_span(stage, start_time=start), start + round(duration * 1e9)
            span.end(start)


def configure_logging(log_format: str, level: int = logging.INFO) -> None:
    """Log with structlog to standard error: colored lines (human) or JSON; auto chooses human on a terminal. Lines go through `logging`,
    which does not fail on write errors, such as a full disk."""
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
    if current := trace_id():
        event["trace_id"] = current
    return event
