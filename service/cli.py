"""The command `cyclegan`. Each subcommand imports what it needs when it runs, so that it starts fast and works without the other extras."""

import asyncio
import importlib
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service import __version__

if TYPE_CHECKING:
    from service.client import Options
    from service.files import Job
    from service.settings import Settings

REMOTE_IN_FLIGHT = 4  # pictures sent to a service at once

app = typer.Typer(name="cyclegan", no_args_is_help=True, pretty_exceptions_enable=False)

Models = Annotated[Path | None, typer.Option(help="Folder of bundles. Default: CYCLEGAN_MODELS, ./models, or the installed bundles.")]
Url = Annotated[str | None, typer.Option(envvar="CYCLEGAN_URL", help="Use the service at this address, like http://localhost:8000.")]
Key = Annotated[str | None, typer.Option(envvar="CYCLEGAN_KEY", help="A key of the service, with --url.")]
# Another program parses the arguments of these commands.
PASS_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
TRAINING = {
    "train": "Train both directions on two folders of pictures.",
    "prepare": "Check folders of pictures before training.",
    "evaluate": "Evaluate a run on test pictures.",
    "export": "Write both directions of a run as bundles.",
    "import": "Convert a generator from another project to a bundle.",
    "sample": "Translate a folder of pictures with a bundle, as training does.",
}


def _print_version(requested: bool) -> None:
    if requested:
        print(__version__)
        raise typer.Exit


@app.callback()
def _command(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Turn photographs into paintings and back with CycleGAN: translate, serve, and train pairs of your own."""


@app.command()
def translate(
    files: Annotated[list[Path], typer.Argument(help="Pictures and folders of pictures.", show_default=False)],
    direction: Annotated[str, typer.Option("--direction", "-d", help="For example photo2monet; `cyclegan directions` lists them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the translations.", file_okay=False)],
    size: Annotated[str | None, typer.Option(help="Longest side in pixels to translate at, 64 to 4096, or `original`.")] = None,
    file_format: Annotated[
        Literal["jpeg", "png", "webp", "avif"] | None, typer.Option("--format", help="Format of translations; default: the picture's own.")
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEG, WebP and AVIF.")] = 90,
    enlarge: Annotated[bool, typer.Option("--enlarge", help="Enlarge each translation to its picture's own size.")] = False,
    strength: Annotated[float, typer.Option(min=0, max=1, help="Weight of the translation against the original.")] = 1.0,
    keep_colors: Annotated[bool, typer.Option("--keep-colors", help="Keep the original's colors.")] = False,
    models: Models = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Translate pictures, locally or with a service (--url). The originals are never overwritten."""
    from service.files import plan

    options: Options = {
        "size": None if size is None else _parse_size(size), "format": file_format, "quality": quality,
        "output": "input" if enlarge else "size", "strength": strength, "keep_colors": keep_colors,
    }  # fmt: skip
    with _exit_on_error():
        jobs = plan(files, output)
        if not jobs:
            raise SystemExit("error: there are no pictures in these folders")
        failed = asyncio.run(_translate(jobs, direction, options, models, url, key))
    if failed:
        raise SystemExit(f"error: {failed} of {len(jobs)} pictures were not translated")


def _parse_size(size: str) -> int | Literal["original"]:
    if size == "original":
        return "original"
    if not (size.isdecimal() and 64 <= int(size) <= 4096):
        raise typer.BadParameter("give a number from 64 to 4096, or `original`", param_hint="--size")
    return int(size)


async def _translate(jobs: "list[Job]", direction: str, options: "Options", models: Path | None, url: str | None, key: str | None) -> int:
    """Translate and write the pictures, and return how many failed."""
    from service.files import translate_files

    if url is not None:
        from service.client import AsyncClient

        async with AsyncClient(url, key) as client:
            return await translate_files(jobs, direction, options, client, REMOTE_IN_FLIGHT)
    from service.local import LocalTranslator

    async with LocalTranslator(_load_settings(models), direction) as local:
        return await translate_files(jobs, direction, options, local, local.in_flight)


@app.command()
def directions(models: Models = None, url: Url = None, key: Key = None) -> None:
    """List the directions, locally or at a service (--url)."""
    from rich.console import Console
    from rich.table import Column, Table

    from models.bundle import list_bundles, load_bundle
    from service.client import Client

    names = ("direction", "version", "source", "target", "trained_size")
    table = Table(*(Column(name.replace("_", " "), no_wrap=True) for name in names))
    with _exit_on_error():
        if url is not None:
            with Client(url, key) as client:
                entries = client.directions()
        else:
            bundles = map(load_bundle, list_bundles(_load_settings(models).models))
            entries = [bundle.manifest.model_dump() | bundle.version.model_dump() for bundle in bundles]
    for entry in entries:
        table.add_row(*(str(entry[name]) for name in names))
    Console().print(table)


@app.command()
def serve(
    show_settings: Annotated[bool, typer.Option("--show-settings", help="Print every setting with its value and exit.")] = False,
    models: Models = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
) -> None:
    """Serve the bundles over HTTP. All other settings are environment variables; --show-settings lists them."""
    from service.server import serve as run
    from service.settings import describe

    settings = _load_settings(models, host=host, port=port)
    if show_settings:
        print(describe(settings))
    else:
        run(settings)


@app.command()
def site(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the site.", file_okay=False)],
    models: Models = None,
) -> None:
    """Write a static site that translates pictures in the browser, without a service."""
    from service.site import write_site

    with _exit_on_error():
        print(f"{output}: {', '.join(write_site(_load_settings(models).models, output))}")


@app.command(context_settings=PASS_ARGUMENTS)
def bulk(context: typer.Context) -> None:
    """Translate a folder or bucket with Ray Data, on this machine or a cluster."""
    _require("ray", "cluster")
    from service.bulk import main as run

    run(context.args)


def _run_training() -> None:
    """Run `python -m training`, which has the same commands, with this process's arguments."""
    _require("torch", "training")
    runpy.run_module("training", run_name="__main__")


for command, summary in TRAINING.items():
    app.command(command, context_settings=PASS_ARGUMENTS, help=summary)(_run_training)


def _require(module: str, extra: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise SystemExit(f"error: this needs {module}, which is not installed: in the project's folder, pip install '.[{extra}]'") from None


def _load_settings(models: Path | None, **options: Any) -> "Settings":
    """Load settings from the environment and the command's options. Exits if a setting is invalid."""
    from pydantic import ValidationError

    from service.settings import Settings, explain

    options |= {"models": models}
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise SystemExit(f"error: these settings are invalid:\n{explain(error)}") from None


@contextmanager
def _exit_on_error() -> Iterator[None]:
    """Exit with the message of an error in the command's input."""
    from models.bundle import BundleError
    from service.client import ClientError
    from service.files import FilesError

    try:
        yield
    except (BundleError, FilesError, ClientError, OSError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    app()
