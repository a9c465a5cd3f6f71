"""`python -m service`: settings → server."""

import argparse

from pydantic import ValidationError

from service.server import serve
from service.settings import Settings, describe, explain


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


if __name__ == "__main__":
    main()
