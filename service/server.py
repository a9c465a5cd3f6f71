"""Run the service in one process."""

import contextlib
import math
import signal
import sys
from functools import partial

import uvicorn

from service.app import create_app
from service.protocol import BoundedHead
from service.settings import Settings


def serve(settings: Settings) -> None:
    """Serve until a signal ends it. Exits with status 3, like uvicorn, if the service cannot start."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it would end the process until the app handles it
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=partial(BoundedHead, head_seconds=settings.stall_seconds),  # type: ignore[arg-type]  # it is called like the class
        log_config=None,
        access_log=False,  # middleware.py logs requests
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=math.ceil(settings.deadline_seconds),
    )
    server = uvicorn.Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started or app.state.failed:
        sys.exit(3)
