"""`python -m service.bulk`: a folder or bucket of pictures through Ray Data, on this machine or on a cluster (RAY_ADDRESS).

What is in the output already is not done again, so the same command resumes after a crash or Ctrl-C.
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
from pictures.identify import SUFFIXES as TAKEN_SUFFIXES
from service.engine.generator import Generator
from service.engine.sessions import choose_providers
from service.settings import Settings
from service.telemetry import configure_logging

log = structlog.get_logger()


class Translator:
    """One session, in an actor: from a picture's name to what became of it."""

    def __init__(self, arguments: argparse.Namespace, settings: Settings) -> None:
        self._arguments, self._settings = arguments, settings
        self._source, self._target = located(arguments.input), located(arguments.output)
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
        target.move(f"{path}.part", path)  # whole, or not there at all
        return row | {"problem": ""}


def open_generator(settings: Settings, direction: str) -> Generator:
    """The newest version. Ends the program with those there are where there is no such direction."""
    directions = [folder.name for folder in list_bundles(settings.models)]
    if direction not in directions:
        raise SystemExit(f"error: there is no direction {direction}; there are: {', '.join(directions)}")
    return Generator(load_bundle(settings.models / direction), choose_providers(settings.providers)[0], 1, settings.precision)


def located(uri: str) -> tuple[fs.FileSystem, str]:
    """A folder (`pictures`, `/data/pictures`) or bucket (`s3://bucket/folder`, `gs://…`): its file system, and its path there."""
    system, path = fs.FileSystem.from_uri(uri) if "://" in uri else (fs.LocalFileSystem(), uri)
    return system, path.rstrip("/")


def list_names(uri: str) -> set[str]:
    """The files below a folder or bucket, relative to it; none where it does not exist."""
    system, folder = located(uri)
    files = system.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
    return {file.path[len(folder) :].lstrip("/") for file in files if file.type == fs.FileType.File}


def output_name(name: str, file_format: str) -> str:
    """The upload's suffix stays, so that `a.jpg` and `a.png` do not meet."""
    return f"{name}.{SUFFIXES[file_format]}"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    settings = Settings()
    parser = argparse.ArgumentParser(prog="python -m service.bulk", description=__doc__)
    parser.add_argument("--input", required=True, help="folder or bucket of pictures, nested as you like")
    parser.add_argument("--output", required=True, help="folder or bucket for the translations, which keep their place and name")
    parser.add_argument("--direction", required=True)
    parser.add_argument("--size", type=int, default=settings.default_size, help="longest side in pixels (default %(default)s)")
    parser.add_argument("--format", choices=sorted(SUFFIXES), default="jpeg")
    parser.add_argument("--quality", type=int, default=90, help="1 to 100 (default %(default)s)")
    parser.add_argument("--gpus", type=float, default=0, help="of a GPU for each actor: 0.25 puts four on one (default: CPU)")
    return parser.parse_args(arguments)


def main(given: Sequence[str] | None = None) -> None:
    """`given`: arguments, else the program's own."""
    arguments, settings = parse_arguments(given), Settings()
    configure_logging(settings.log_format)
    open_generator(settings, arguments.direction)
    done = list_names(arguments.output)
    pictures = sorted(name for name in list_names(arguments.input) if name.lower().endswith(tuple(TAKEN_SUFFIXES)))
    names = [name for name in pictures if output_name(name, arguments.format) not in done]
    log.info("begun", pictures=len(pictures), done=len(pictures) - len(names), left=len(names))
    if not names:
        return
    ray.init(log_to_driver=False, ignore_reinit_error=True)
    ray.data.DataContext.get_current().enable_progress_bars = False  # ours is fit for a log, too
    actors = max(1, int(ray.cluster_resources().get("GPU" if arguments.gpus else "CPU", 1) / (arguments.gpus or 1)))
    rows = ray.data.from_items([{"name": name} for name in names], override_num_blocks=min(len(names), 200)).map(
        Translator,  # type: ignore[arg-type]  # a class is an actor
        fn_constructor_args=(arguments, settings.model_copy(update={"models": settings.models.resolve()})),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
        num_cpus=1,
        num_gpus=arguments.gpus,
    )
    begun = told = time.monotonic()
    failed = 0
    for count, row in enumerate(rows.iter_rows(), start=1):
        if row["problem"]:
            failed += 1
            log.warning("not translated", picture=row["name"], problem=row["problem"])
        if time.monotonic() - told > 1 or count == len(names):
            told = time.monotonic()
            log.info("progress", done=count, of=len(names), failed=failed, pictures_a_second=round(count / (told - begun), 1))
    if failed:
        raise SystemExit(f"error: {failed} of {len(names)} pictures were not translated; the log names them")


if __name__ == "__main__":
    main()
