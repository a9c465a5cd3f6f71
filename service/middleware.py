"""Around every request: where it is published, its id, its line in the log, its metrics."""

import random
import re
import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.telemetry import METRICS, trace_id

SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
SANE_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
PROBES = ("/health/live", "/health/ready", "/metrics", "/v2/health/live", "/v2/health/ready")
"""Asked for without end: only what goes wrong is in the log."""

log = structlog.get_logger()


class Observer:
    """ASGI middleware. The request's id comes back as X-Request-ID, with the headers that are put into `request.state.headers`;
    its line in the log, a warning for a slow one, has what is put into `request.state.facts` and `request.state.stages`."""

    def __init__(self, app: ASGIApp, slow_seconds: float) -> None:
        self.app = app
        self.slow_seconds = slow_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"x-request-id", b"x-forwarded-prefix")}
        sent_id = sent.get(b"x-request-id", "")
        request_id = sent_id if SANE_ID.fullmatch(sent_id) else f"{random.getrandbits(128):032x}"
        facts: dict[str, Any] = {}
        stages: dict[str, float] = {}
        headers: dict[str, str] = {}
        scope.setdefault("state", {}).update(request_id=request_id, facts=facts, stages=stages, headers=headers)
        asked = _as_asked(scope, sent.get(b"x-forwarded-prefix", ""))
        begun, status = time.monotonic(), 499  # the client hung up, unless an answer begins

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = {"x-request-id": request_id} | headers
                message["headers"] = [*message["headers"], *((name.lower().encode(), value.encode()) for name, value in more.items())]
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)  # each request is a task with a context of its own
        try:
            await self.app(asked, receive, send_with_headers)
        except Exception:
            status = 500
            raise
        finally:
            self._tell(asked, scope["method"], status, time.monotonic() - begun, facts, stages)

    def _tell(self, asked: Scope, method: str, status: int, seconds: float, facts: dict[str, Any], stages: dict[str, float]) -> None:
        path = getattr(asked.get("route"), "path", "other")
        found = trace_id()
        METRICS.requests.labels(path, status).inc()
        METRICS.request_seconds.labels(path).observe(seconds, {"trace_id": found} if found else None)
        if "key" in facts:
            METRICS.key_requests.labels(facts["key"], status).inc()
        client = asked["client"][0] if asked.get("client") else None
        told = {"method": method, "path": asked["path"], "status": status, "ms": round(seconds * 1000, 1), "client": client} | facts
        told |= {f"{stage}_ms": round(duration * 1000, 1) for stage, duration in stages.items()}
        if seconds > self.slow_seconds:
            log.warning("slow request", **told)
        elif path in PROBES and status in (200, 503):
            log.debug("request", **told)
        else:
            log.info("request", **told)


def _as_asked(scope: Scope, prefix: str) -> Scope:
    """HEAD is answered as GET is, and the server leaves the body out. Below a prefix the path has it, whether the proxy took it
    away or not, as ASGI wants it (https://asgi.readthedocs.io/en/latest/specs/www.html)."""
    asked = dict(scope)
    if scope["method"] == "HEAD":
        asked["method"] = "GET"
    if SANE_PREFIX.fullmatch(prefix):
        asked["root_path"] = prefix
    root = asked.get("root_path", "")
    if root and not f"{scope['path']}/".startswith(f"{root}/"):
        asked["path"] = root + scope["path"]
        asked["raw_path"] = root.encode() + (scope.get("raw_path") or scope["path"].encode())
    return asked
