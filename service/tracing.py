"""OpenTelemetry, where its packages (`pip install '.[otel]'`) and its own variables ask for it; absent otherwise."""

import os
from typing import Any

from starlette.types import ASGIApp


def traced(app: ASGIApp) -> ASGIApp:
    """`app` with a span a request, sent to OTEL_EXPORTER_OTLP_ENDPOINT (service.name: OTEL_SERVICE_NAME); the request's line in
    the log tells its trace_id. Raises ImportError where the endpoint is set and the packages are missing."""
    if not (os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return app
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    os.environ.setdefault("OTEL_SERVICE_NAME", "cyclegan")
    provider = TracerProvider(resource=Resource.create())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetryMiddleware(
        app,
        tracer_provider=provider,
        excluded_urls="/health/,/metrics",
        exclude_spans=["receive", "send"],
        server_request_hook=_into_log,
    )


def _into_log(span: Any, scope: dict[str, Any]) -> None:
    if span.is_recording():
        scope["state"]["facts"]["trace_id"] = format(span.get_span_context().trace_id, "032x")
