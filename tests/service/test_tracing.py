"""OpenTelemetry: a span for each request and each of its stages reaches a collector; metrics name its trace."""

import queue
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.conftest import running_service

STAGES = ["upload", "admission", "decode", "queue", "infer", "encode"]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[queue.Queue[Span]]:
    """What a collector is sent by the services that are started meanwhile."""
    received: queue.Queue[Span] = queue.Queue()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            for span in [span for resource in sent.resource_spans for scope in resource.scope_spans for span in scope.spans]:
                received.put(span)
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield received
        collector.shutdown()


def test_each_request_is_a_span_in_its_callers_trace_with_a_child_for_each_stage(spans: queue.Queue[Span], photo: bytes) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    with running_service() as service:
        assert service.client.get("/health/ready", headers=headers).status_code == 200  # which probes ask for without end
        service.client.post("/translate?direction=photo2monet&size=64", files={"image": photo}, headers=headers).raise_for_status()
        service.client.get("/directions", headers=headers).raise_for_status()
        made = [spans.get(timeout=30) for _ in range(2 + len(STAGES))]
        metrics = service.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}).text
    *stages, translation, listing = sorted(made, key=lambda span: span.end_time_unix_nano)
    assert [translation.name, listing.name] == ["POST /translate", "GET /directions"]
    assert [stage.name for stage in sorted(stages, key=lambda span: span.start_time_unix_nano)] == STAGES
    assert all(stage.parent_span_id == translation.span_id for stage in stages)
    assert all(translation.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano for stage in stages)
    assert all(span.trace_id.hex() == trace for span in made)
    assert {span.kind for span in (translation, listing)} == {Span.SPAN_KIND_SERVER}
    assert spans.empty()
    for histogram in ("request_seconds", "stage_seconds"):
        assert re.search(rf'^cyclegan_{histogram}_bucket{{.*}} \S+ # {{trace_id="{trace}"}}', metrics, re.MULTILINE), histogram
