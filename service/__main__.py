"""`python -m service`: settings → app → uvicorn."""

import argparse
import math

import uvicorn
from pydantic import ValidationError

from service.settings import Settings, describe


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m service", description="Serve the bundles in CYCLEGAN_MODELS.")
    parser.add_argument("--show-settings", action="store_true", help="print every setting with its value, and end")
    arguments = parser.parse_args()
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = "\n".join(f"  CYCLEGAN_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SystemExit(f"error: these settings cannot be used:\n{wrong}") from None
    if arguments.show_settings:
        print(describe(settings))
        return
    uvicorn.run(
        "service.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        access_log=False,  # Observer writes a better line
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.deadline_seconds),
    )


if __name__ == "__main__":
    main()
