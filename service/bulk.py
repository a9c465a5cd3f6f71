"""`python -m service.bulk` translates a folder or bucket of pictures with Ray Data, on this machine or on a cluster (RAY_ADDRESS).

It skips pictures that are already in the output, so the same command resumes after a crash or Ctrl-C.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import ray
import structlog
from pyarrow import fs

from models import padding
from models.bundle import list_bundles, load_bundle
from pictures.decode import decode, open_picture
from pictures.encode import SUFFIXES, encode
from pictures.errors import PictureError
from pictures.identify import SUFFIXES as INPUT_SUFFIXES
from service.engine.generator import Generator
from service.engine.sessions import choose_providers
from service.settings import Settings
from service.telemetry import configure_logging

log = structlog.get_logger()


class Translator:
    """A Ray actor with one session. It takes rows with a picture's name, and adds the problem, if any."""

    def __init__(self, arguments: argparse.Namespace, settings: Settings) -> None:
        self._arguments, self._settings = arguments, settings
        self._source, self._target = locate(arguments.input), locate(arguments.output)
        self._generator = open_generator(settings, arguments.direction)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        (source, source_folder), (target, target_folder) = self._source, self._target
        with source.open_input_stream(f"{source_folder}/{row['name']}") as file:
            content = file.read()
        try:
            picture = decode(open_picture(content, self._settings.max_pixels), self._arguments.size)
            version = self._generator.bundle.version
            padded = padding.pad(picture.pixels, version.multiple, version.smallest_side)
            translated = padding.crop(self._generator.run([padded])[0], *picture.pixels.shape[:2])
            answer = encode(translated, self._arguments.format, self._arguments.quality)
        except PictureError as error:
            return row | {"problem": str(error)}
        path = f"{target_folder}/{output_name(row['name'], self._arguments.format)}"
        target.create_dir(path.rpartition("/")[0], recursive=True)
        with target.open_output_stream(f"{path}.part") as file:
            file.write(answer)
        target.move(f"{path}.part", path)  # complete, or missing
        return row | {"problem": ""}


def open_generator(settings: Settings, direction: str) -> Generator:
    """Open the newest version. Exits with the available directions if there is no such direction."""
    directions = [folder.name for folder in list_bundles(settings.models)]
    if direction not in directions:
        raise SystemExit(f"error: there is no direction {direction}; there are: {', '.join(directions)}")
    return Generator(load_bundle(settings.models / direction), choose_providers(settings.providers)[0], 1, settings.precision)


def locate(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the file system and the path of a folder (`pictures`, `/data/pictures`) or bucket (`s3://bucket/folder`, `gs://…`)."""
    system, path = fs.FileSystem.from_uri(uri) if "://" in uri else (fs.LocalFileSystem(), uri)
    return system, path.rstrip("/")


def list_names(uri: str) -> set[str]:
    """Return the relative paths of all files in a folder or bucket; none if it does not exist."""
    system, folder = locate(uri)
    files = system.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
    return {file.path[len(folder) :].lstrip("/") for file in files if file.type == fs.FileType.File}


def output_name(name: str, file_format: str) -> str:
    """Return the name of a translation. It keeps the picture's suffix, so that `a.jpg` and `a.png` do not collide."""
    return f"{name}.{SUFFIXES[file_format]}"


def parse_arguments(arguments: Sequence[str] | None, settings: Settings) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m service.bulk", description=__doc__)
    parser.add_argument("--input", required=True, help="folder or bucket of pictures, including its subfolders")
    parser.add_argument("--output", required=True, help="folder or bucket for the translations, with the same subfolders and names")
    parser.add_argument("--direction", required=True)
    parser.add_argument("--size", type=int, default=settings.default_size, help="longest side in pixels (default %(default)s)")
    parser.add_argument("--format", choices=sorted(SUFFIXES), default="jpeg")
    parser.add_argument("--quality", type=int, default=90, help="1 to 100 (default %(default)s)")
    parser.add_argument("--gpus", type=float, default=0, help="part of a GPU for each actor: 0.25 puts four actors on one (default: CPU)")
    return parser.parse_args(arguments)


def main(command_line: Sequence[str] | None = None) -> None:
    """Run with these arguments; by default, with those of the process."""
    settings = Settings()
    arguments = parse_arguments(command_line, settings)
    configure_logging(settings.log_format)
    open_generator(settings, arguments.direction)
    done = list_names(arguments.output)
    pictures = sorted(name for name in list_names(arguments.input) if name.lower().endswith(tuple(INPUT_SUFFIXES)))
    names = [name for name in pictures if output_name(name, arguments.format) not in done]
    log.info("started", pictures=len(pictures), done=len(pictures) - len(names), left=len(names))
    if not names:
        return
    ray.init(log_to_driver=False, ignore_reinit_error=True)
    ray.data.DataContext.get_current().enable_progress_bars = False  # this program logs its progress
    actors = max(1, int(ray.cluster_resources().get("GPU" if arguments.gpus else "CPU", 1) / (arguments.gpus or 1)))
    rows = ray.data.from_items([{"name": name} for name in names], override_num_blocks=min(len(names), 200)).map(
        Translator,  # type: ignore[arg-type]  # Ray makes an actor of a class
        fn_constructor_args=(arguments, settings.model_copy(update={"models": settings.models.resolve()})),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
        num_cpus=1,
        num_gpus=arguments.gpus,
    )
    started_at = logged_at = time.monotonic()
    failed = 0
    for count, row in enumerate(rows.iter_rows(), start=1):
        if row["problem"]:
            failed += 1
            log.warning("not translated", picture=row["name"], problem=row["problem"])
        if time.monotonic() - logged_at > 1 or count == len(names):
            logged_at = time.monotonic()
            log.info("progress", done=count, of=len(names), failed=failed, pictures_a_second=round(count / (logged_at - started_at), 1))
    if failed:
        raise SystemExit(f"error: {failed} of {len(names)} pictures were not translated; the log names them")


if __name__ == "__main__":
    main()
