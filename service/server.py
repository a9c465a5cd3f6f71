"""One process that serves."""

import contextlib
import math
import socket
import sys

import uvicorn

from service.settings import Settings

CANNOT_START = 3
"""Exit status, uvicorn's own."""


def serve(settings: Settings, bound: socket.socket | None = None) -> None:
    """Until a signal ends it, on the socket that is given, or else on one of its own. Raises SystemExit where it cannot start."""
    config = uvicorn.Config(
        "service.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # Observer writes a better line
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.deadline_seconds),
    )
    server = uvicorn.Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run([bound] if bound else None)
    if not server.started:
        sys.exit(CANNOT_START)
