"""The command `cyclegan`. Each command imports what it needs when it is called, so that it starts fast and needs no more than that."""

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

REMOTE_IN_FLIGHT = 4
"""Pictures that a service is sent at once."""

app = typer.Typer(name="cyclegan", no_args_is_help=True, pretty_exceptions_enable=False)

Models = Annotated[Path | None, typer.Option(help="Folder of bundles; else CYCLEGAN_MODELS, ./models, or those that came with this.")]
Url = Annotated[str | None, typer.Option(envvar="CYCLEGAN_URL", help="Ask the service at this address, like http://localhost:8000.")]
Key = Annotated[str | None, typer.Option(envvar="CYCLEGAN_KEY", help="One of the service's keys, with --url.")]
HANDED_OVER = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Settings of a command whose arguments another program parses."""
TRAINING = {
    "train": "Train both directions on two folders of pictures.",
    "prepare": "Look through folders of pictures before a training.",
    "evaluate": "Judge a run on test pictures.",
    "export": "Write both directions of a run as bundles.",
    "import": "Write a generator that others trained as a bundle.",
    "sample": "Translate a folder of pictures with a bundle, as training does.",
}
"""Its commands that are commands here, too."""


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _command(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and end.")] = False,
) -> None:
    """Turn photographs into paintings and back with CycleGAN: translate, serve, and train pairs of your own."""


@app.command()
def translate(
    files: Annotated[list[Path], typer.Argument(help="Pictures, and folders of pictures.", show_default=False)],
    direction: Annotated[str, typer.Option("--direction", "-d", help="Like photo2monet; `cyclegan directions` lists them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the translations.", file_okay=False)],
    size: Annotated[str | None, typer.Option(help="Longest side in pixels to translate at, 64 to 4096, or `original`.")] = None,
    file_format: Annotated[
        Literal["jpeg", "png", "webp", "avif"] | None, typer.Option("--format", help="Of the translations; else each picture's own.")
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF.")] = 90,
    enlarge: Annotated[bool, typer.Option("--enlarge", help="Enlarge each translation to its picture's own size.")] = False,
    strength: Annotated[float, typer.Option(min=0, max=1, help="How much of the translation against the original.")] = 1.0,
    keep_colors: Annotated[bool, typer.Option("--keep-colors", help="Keep the original's colours.")] = False,
    models: Models = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Translate pictures, here or by a service (--url). The pictures themselves are never written over."""
    options: Options = {"quality": quality, "output": "input" if enlarge else "size", "strength": strength, "keep_colors": keep_colors}
    if size is not None:
        options["size"] = _parsed_size(size)
    if file_format is not None:
        options["format"] = file_format
    from service.files import plan

    with _told_errors():
        jobs = plan(files, output)
    if not jobs:
        raise SystemExit("error: there are no pictures in these folders")
    with _told_errors():
        failed = asyncio.run(_translate(jobs, direction, options, models, url, key))
    if failed:
        raise SystemExit(f"error: {failed} of {len(jobs)} pictures were not translated")


def _parsed_size(size: str) -> int | Literal["original"]:
    if size == "original":
        return "original"
    if not (size.isdecimal() and 64 <= int(size) <= 4096):
        raise typer.BadParameter("give a number from 64 to 4096, or `original`", param_hint="--size")
    return int(size)


async def _translate(jobs: "list[Job]", direction: str, options: "Options", models: Path | None, url: str | None, key: str | None) -> int:
    """How many pictures failed; each is named."""
    from service.files import translate_files

    if url is not None:
        from service.client import AsyncClient

        async with AsyncClient(url, key) as client:
            return await translate_files(jobs, direction, options, client, REMOTE_IN_FLIGHT)
    from service.local import LocalTranslator

    async with LocalTranslator(_settings(models), direction) as local:
        return await translate_files(jobs, direction, options, local, local.in_flight)


@app.command()
def directions(models: Models = None, url: Url = None, key: Key = None) -> None:
    """List the directions there are, here or at a service (--url)."""
    from rich.console import Console
    from rich.table import Column, Table

    from models.bundle import list_bundles
    from service.client import Client

    names = ("direction", "version", "source", "target", "trained_size")
    table = Table(*(Column(name.replace("_", " "), no_wrap=True) for name in names))
    with _told_errors():
        if url is not None:
            with Client(url, key) as client:
                found = client.directions()
        else:
            found = [_described(folder) for folder in list_bundles(_settings(models).models)]
    for each in found:
        table.add_row(*(str(each[name]) for name in names))
    Console().print(table)


def _described(folder: Path) -> dict[str, Any]:
    """As GET /directions has it. Raises BundleError."""
    from models.bundle import load_bundle

    bundle = load_bundle(folder)
    return bundle.manifest.model_dump() | bundle.version.model_dump()


@app.command()
def serve(
    show_settings: Annotated[bool, typer.Option("--show-settings", help="Print every setting with its value, and end.")] = False,
    models: Models = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
) -> None:
    """Serve the bundles over HTTP. All else is set by environment variables; --show-settings lists them."""
    from service.server import serve as run
    from service.settings import describe

    settings = _settings(models, host=host, port=port)
    if show_settings:
        print(describe(settings))
    else:
        run(settings)


@app.command()
def site(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the site.", file_okay=False)],
    models: Models = None,
) -> None:
    """Write a site of static files that translates pictures in the browser, with no service behind it."""
    from service.site import write_site

    with _told_errors():
        print(f"{output}: {', '.join(write_site(_settings(models).models, output))}")


@app.command(context_settings=HANDED_OVER)
def bulk(context: typer.Context) -> None:
    """Translate a folder or bucket through Ray Data, on this machine or a cluster."""
    _need("ray", "cluster")
    from service.bulk import main as run

    run(context.args)


def _training() -> None:
    """`python -m training` parses the same arguments, which begin with the command's name."""
    _need("torch", "training")
    runpy.run_module("training", run_name="__main__")


for name, told in TRAINING.items():
    app.command(name, context_settings=HANDED_OVER, help=told)(_training)


def _need(module: str, extra: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise SystemExit(f"error: this needs {module}, which is not installed: in the project's folder, pip install '.[{extra}]'") from None


def _settings(models: Path | None, **given: Any) -> "Settings":
    """From the environment and the options that were `given`. Ends the program where a setting cannot be used."""
    from pydantic import ValidationError

    from service.settings import Settings, explain

    given |= {"models": models}
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise SystemExit(f"error: these settings cannot be used:\n{explain(error)}") from None


@contextmanager
def _told_errors() -> Iterator[None]:
    """What is wrong with the command's input ends the program with its message."""
    from models.bundle import BundleError
    from service.client import ClientError
    from service.files import FilesError

    try:
        yield
    except (BundleError, FilesError, ClientError, OSError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    app()
