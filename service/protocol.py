"""uvicorn's HTTP/1.1 protocol with a size limit and a time limit for request heads, which uvicorn itself does not have."""

import asyncio
import json
import secrets
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import Problem
from service.problems import MEDIA_TYPE

LIMIT = 64 * 1024  # bytes of request line and headers; the parser has no limit, and takes quadratic time for a long header
MALFORMED = Problem(400, "Malformed request", "The request is not valid HTTP: check its headers and its path.")
TOO_LARGE = Problem(431, "Request head too large", f"The request's headers are larger than {LIMIT:,} bytes: send fewer.", limit=LIMIT)


class BoundedHead(HttpToolsProtocol):
    """Counts all bytes that are not part of a body: headers, and what may come between and after a body's chunks."""

    def __init__(self, *arguments: Any, head_seconds: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_seconds = head_seconds
        self._outside_body = 0
        self._problem = MALFORMED

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self._head_seconds, self._on_head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._outside_body += len(data)
        super().data_received(data)
        if self._outside_body > LIMIT and not self.transport.is_closing():
            self._refuse(TOO_LARGE)

    def on_message_begin(self) -> None:
        self._head_timer.cancel()
        self._head_timer = self.loop.call_later(self._head_seconds, self._on_head_timeout)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_timer.cancel()
        self._outside_body = 0
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > LIMIT:  # it all came in one read
            self._problem = TOO_LARGE
            raise ValueError
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._outside_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._outside_body = 0
        super().on_message_complete()

    def _on_head_timeout(self) -> None:
        if self._outside_body:
            self._refuse(Problem(408, "Stalled head", f"The request's headers did not arrive within {self._head_seconds:g} s."))
        else:  # the client has not sent anything that could be answered
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        self._problem = problem
        self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """Send a problem document instead of uvicorn's `msg`."""
        request_id = secrets.token_hex(16)
        content = json.dumps(self._problem.document(request_id)).encode()
        headers = {"content-type": MEDIA_TYPE, "content-length": str(len(content)), "x-request-id": request_id, "connection": "close"}
        lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
        self.transport.write(STATUS_LINE[self._problem.status] + lines + b"\r\n" + content)
        self.transport.close()
