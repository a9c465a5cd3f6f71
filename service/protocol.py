"""uvicorn's HTTP/1.1, for request heads up to a size that come in within a time. uvicorn limits neither."""

import asyncio
import json
import secrets
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import Problem
from service.problems import MEDIA_TYPE

LIMIT = 64 * 1024
"""Bytes of a request's line and headers. The parser has none, and puts a long header together in time that grows with its square."""
MALFORMED = Problem(400, "Malformed request", "The request is not valid HTTP: check its headers and its path.")
TOO_LARGE = Problem(431, "Request head too large", f"The request's headers are larger than {LIMIT:,} bytes: send fewer.", limit=LIMIT)


class BoundedHead(HttpToolsProtocol):
    """Whatever comes in and is no part of a body counts: headers, and what may stand between a body's chunks and behind them."""

    def __init__(self, *arguments: Any, head_seconds: float, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head_seconds = head_seconds
        self._outside_body = 0
        self._problem = MALFORMED

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_due = self.loop.call_later(self._head_seconds, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_due.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._outside_body += len(data)
        super().data_received(data)
        if self._outside_body > LIMIT and not self.transport.is_closing():
            self._refuse(TOO_LARGE)

    def on_message_begin(self) -> None:
        self._head_due.cancel()
        self._head_due = self.loop.call_later(self._head_seconds, self._give_up)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_due.cancel()
        self._outside_body = 0
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > LIMIT:  # all in one read
            self._problem = TOO_LARGE
            raise ValueError
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._outside_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._outside_body = 0
        super().on_message_complete()

    def _give_up(self) -> None:
        """The head, or all of it, has not come. Where nothing has, there is nobody to tell."""
        if self._outside_body:
            self._refuse(Problem(408, "Stalled head", f"The request's headers did not come in within {self._head_seconds:g} s."))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        self._problem = problem
        self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """Worded like every other problem."""
        request_id = secrets.token_hex(16)
        content = json.dumps(self._problem.document(request_id)).encode()
        headers = {"content-type": MEDIA_TYPE, "content-length": str(len(content)), "x-request-id": request_id, "connection": "close"}
        lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
        self.transport.write(STATUS_LINE[self._problem.status] + lines + b"\r\n" + content)
        self.transport.close()
