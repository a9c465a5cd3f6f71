"""`python -m service`: settings → server, one or several."""

import argparse

from pydantic import ValidationError

from service.server import serve
from service.settings import Settings, describe
from service.workers import serve_with_workers


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m service", description="Serve the bundles in CYCLEGAN_MODELS.")
    parser.add_argument("--show-settings", action="store_true", help="print every setting with its value, and end")
    arguments = parser.parse_args()
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = "\n".join(
            f"  CYCLEGAN_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors() if e["type"] != "default_factory_not_called"
        )
        raise SystemExit(f"error: these settings cannot be used:\n{wrong}") from None
    if arguments.show_settings:
        print(describe(settings))
        return
    serve_with_workers(settings) if settings.workers > 1 else serve(settings)


if __name__ == "__main__":
    main()
