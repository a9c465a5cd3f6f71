"""The files of `cyclegan translate`: find pictures, decide where each translation goes, and translate and write all of them."""

import asyncio
import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Unpack

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pictures.encode import SUFFIXES
from pictures.errors import PictureError
from pictures.identify import SUFFIXES as INPUT_SUFFIXES
from service.client import ClientError, Options, TranslatedPicture
from service.errors import Problem


class FilesError(Exception):
    """The named files cannot be translated; the message says what to do."""


class Translator(Protocol):
    """A remote service, or the local pipeline."""

    async def translate(self, source: Path, direction: str, **options: Unpack[Options]) -> TranslatedPicture: ...


@dataclass(frozen=True)
class Job:
    """One picture to translate."""

    source: Path
    stem: Path  # path of the translation, without direction and suffix

    def target(self, direction: str, file_format: str) -> Path:
        return self.stem.with_name(f"{self.stem.name}.{direction}.{SUFFIXES[file_format]}")


def plan(sources: Iterable[Path], output: Path) -> list[Job]:
    """Return a job for each file in `sources` and each picture in the folders in `sources`, whose structure is kept below `output`. If
    `output` lies inside such a folder, its own files are skipped.

    Raises FilesError if a file does not exist, or if two pictures have the same target.
    """
    targets: dict[Path, Path] = {}
    for source in sources:
        if source.is_dir():
            targets |= {path: output / path.relative_to(source) for path in _find_pictures(source, output.resolve())}
        elif source.exists():
            targets[source] = output / source.name
        else:
            raise FilesError(f"there is no file or folder {source}")
    stems = Counter(target.with_suffix("") for target in targets.values())
    jobs: dict[Path, Job] = {}
    for source, target in targets.items():
        stem = target if stems[target.with_suffix("")] > 1 else target.with_suffix("")  # keep the suffix to tell a.jpg from a.png
        if stem in jobs:
            raise FilesError(f"{jobs[stem].source} and {source} have the same target: translate them into two folders")
        jobs[stem] = Job(source, stem)
    return list(jobs.values())


def _find_pictures(folder: Path, output: Path) -> Iterator[Path]:
    """Yield the files with a picture's suffix, sorted by name, but none in `output` if that is inside the folder."""
    skip_output = output != folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in INPUT_SUFFIXES and path.is_file() and not (skip_output and path.resolve().is_relative_to(output)):
            yield path


def write(target: Path, content: bytes, sources: Container[tuple[int, int]]) -> None:
    """Write a complete file or none. Raises FileExistsError if `target` is one of the `sources`, given by `identity`, and OSError."""
    if target.exists() and identity(target) in sources:
        raise FileExistsError(f"{target} is one of the pictures to translate, and is not written over: choose another output folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def identity(path: Path) -> tuple[int, int]:
    """Return a value that is equal for two names of the same file. Raises OSError."""
    status = path.stat()
    return status.st_dev, status.st_ino


async def translate_files(jobs: list[Job], direction: str, options: Options, translator: Translator, in_flight: int) -> int:
    """Translate and write all pictures, `in_flight` at once, and return how many failed. Shows a progress bar on a terminal, else prints
    the path of each translation. Failures are printed to standard error."""
    failed = 0
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    sources = {identity(job.source) for job in jobs}
    remaining = iter(jobs)

    async def work() -> None:
        nonlocal failed
        for job in remaining:
            try:
                picture = await translator.translate(job.source, direction, **options)
                target = job.target(direction, picture.format)
                await asyncio.to_thread(write, target, picture.content, sources)
                if not console.is_terminal:
                    print(target, flush=True)
            except (PictureError, Problem, ClientError, OSError) as error:
                failed += 1
                console.print(f"{job.source}: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
            progress.advance(task)

    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(direction, total=len(jobs))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(in_flight, len(jobs))):
                group.create_task(work())
    return failed
