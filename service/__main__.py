"""`python -m service`: settings → app → uvicorn."""

import signal

if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it would end the process until the app has its own way with it

import argparse
import contextlib
import math
import sys

import uvicorn
from pydantic import ValidationError

from service.app import create_app
from service.protocol import BoundedHead
from service.settings import Settings, describe, explain

CANNOT_START = 3
"""Exit status, uvicorn's own."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m service", description="Serve the bundles in CYCLEGAN_MODELS.")
    parser.add_argument("--show-settings", action="store_true", help="print every setting with its value, and end")
    arguments = parser.parse_args()
    try:
        settings = Settings()
    except ValidationError as error:
        raise SystemExit(f"error: these settings cannot be used:\n{explain(error)}") from None
    if arguments.show_settings:
        print(describe(settings))
    else:
        serve(settings)


def serve(settings: Settings) -> None:
    """Until a signal ends it. Raises SystemExit where it cannot start."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=BoundedHead,
        log_config=None,
        access_log=False,  # telemetry.py writes a better line
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=math.ceil(settings.deadline_seconds),
    )
    server = uvicorn.Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started or not app.state.pipeline.engine.catalog.generators:
        sys.exit(CANNOT_START)


if __name__ == "__main__":
    main()
