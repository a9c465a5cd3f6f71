"""uvicorn's HTTP/1.1, for request heads up to a limit."""

import json
import secrets

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.problems import MEDIA_TYPE, Problem

LIMIT = 64 * 1024
"""Bytes of a request's line and headers. The parser has none, and puts a long header together in time that grows with its square."""


class BoundedHead(HttpToolsProtocol):
    """Whatever comes in and is no part of a body counts: headers, and what may stand between a body's chunks and behind them."""

    _outside_body = 0
    _too_large = False

    def data_received(self, data: bytes) -> None:
        self._outside_body += len(data)
        super().data_received(data)
        if self._outside_body > LIMIT and not self.transport.is_closing():
            self._too_large = True
            self.send_400_response("")

    def on_headers_complete(self) -> None:
        self._outside_body = 0
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > LIMIT:  # all in one read
            self._too_large = True
            raise ValueError
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._outside_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._outside_body = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Worded like every other problem."""
        if self._too_large:
            problem = Problem(
                431, "Request head too large", f"The request's headers are larger than {LIMIT:,} bytes: send fewer.", limit=LIMIT
            )
        else:
            problem = Problem(400, "Malformed request", "The request is not valid HTTP: check its headers and its path.")
        request_id = secrets.token_hex(16)
        content = json.dumps(problem.document(request_id)).encode()
        headers = {"content-type": MEDIA_TYPE, "content-length": str(len(content)), "x-request-id": request_id, "connection": "close"}
        lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
        self.transport.write(STATUS_LINE[problem.status] + lines + b"\r\n" + content)
        self.transport.close()
