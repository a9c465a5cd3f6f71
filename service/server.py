"""One process that serves."""

import contextlib
import math
import signal
import sys
from functools import partial

import uvicorn

from service.app import create_app
from service.protocol import BoundedHead
from service.settings import Settings

CANNOT_START = 3
"""Exit status, uvicorn's own."""


def serve(settings: Settings) -> None:
    """Until a signal ends it. Raises SystemExit where it cannot start."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it would end the process until the app has its own way with it
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=partial(BoundedHead, head_seconds=settings.stall_seconds),  # type: ignore[arg-type]  # called as the class is
        log_config=None,
        access_log=False,  # middleware.py writes a better line
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=math.ceil(settings.deadline_seconds),
    )
    server = uvicorn.Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started or app.state.failed:
        sys.exit(CANNOT_START)
