"""Middleware around every request: prefix, request id, log line and metrics."""

import random
import re
import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.telemetry import METRICS, exemplar

VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
VALID_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
# These paths are requested so often that only failures are logged.
PROBES = ("/health/live", "/health/ready", "/metrics", "/v2/health/live", "/v2/health/ready")

log = structlog.get_logger()


class Observer:
    """ASGI middleware that adds X-Request-ID and `request.state.headers` to each response, and logs `request.state.facts` and `.stages`."""

    def __init__(self, app: ASGIApp, slow_seconds: float) -> None:
        self.app = app
        self.slow_seconds = slow_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"x-request-id", b"x-forwarded-prefix")}
        request_id = received.get(b"x-request-id", "")
        if not VALID_ID.fullmatch(request_id):
            request_id = f"{random.getrandbits(128):032x}"
        state: dict[str, Any] = {"request_id": request_id, "facts": {}, "stages": {}, "headers": {}}
        scope.setdefault("state", {}).update(state)
        method = scope["method"]
        scope = _adjust_scope(scope, received.get(b"x-forwarded-prefix", ""))
        started_at, status = time.monotonic(), 499  # the status if the client disconnects before the response starts

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = {"x-request-id": request_id} | state["headers"]
                message["headers"] = [*message["headers"], *((name.lower().encode(), value.encode()) for name, value in extra.items())]
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)  # each request is a task with its own context
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            status = 500
            raise
        finally:
            self._record(scope, method, status, time.monotonic() - started_at, state["facts"], state["stages"])

    def _record(self, scope: Scope, method: str, status: int, seconds: float, facts: dict[str, Any], stages: dict[str, float]) -> None:
        path = getattr(scope.get("route"), "path", "other")
        METRICS.requests.labels(path, status).inc()
        METRICS.request_seconds.labels(path).observe(seconds, exemplar())
        if "key" in facts:
            METRICS.key_requests.labels(facts["key"], status).inc()
        client = scope["client"][0] if scope.get("client") else None
        fields = {"method": method, "path": scope["path"], "status": status, "ms": round(seconds * 1000, 1), "client": client} | facts
        fields |= {f"{stage}_ms": round(duration * 1000, 1) for stage, duration in stages.items()}
        if seconds > self.slow_seconds:
            log.warning("slow request", **fields)
        elif path in PROBES and status in (200, 503):
            log.debug("request", **fields)
        else:
            log.info("request", **fields)


def _adjust_scope(scope: Scope, prefix: str) -> Scope:
    """Route HEAD like GET; the server drops the body. Make a prefix part of the path, whether or not the proxy removed it, as ASGI requires
    (https://asgi.readthedocs.io/en/latest/specs/www.html)."""
    adjusted = dict(scope)
    if scope["method"] == "HEAD":
        adjusted["method"] = "GET"
    if VALID_PREFIX.fullmatch(prefix):
        adjusted["root_path"] = prefix
    root = adjusted.get("root_path", "")
    if root and not f"{scope['path']}/".startswith(f"{root}/"):
        adjusted["path"] = root + scope["path"]
        adjusted["raw_path"] = root.encode() + (scope.get("raw_path") or scope["path"].encode())
    return adjusted
