"""Files for `cyclegan translate`: which pictures there are, where each one's translation goes, and all of them on their way."""

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
from pictures.identify import SUFFIXES as TAKEN_SUFFIXES
from service.client import ClientError, Options, TranslatedPicture
from service.errors import Problem


class FilesError(Exception):
    """Files that cannot be translated as they were named; the message says what to do."""


class Translator(Protocol):
    """A service somewhere, or the pipeline here."""

    async def translate(self, source: Path, direction: str, **options: Unpack[Options]) -> TranslatedPicture: ...


@dataclass(frozen=True)
class Job:
    """One picture of the command's."""

    source: Path
    stem: Path
    """Where its translation goes, but for the direction and the suffix."""

    def target(self, direction: str, file_format: str) -> Path:
        return self.stem.with_name(f"{self.stem.name}.{direction}.{SUFFIXES[file_format]}")


def plan(sources: Iterable[Path], output: Path) -> list[Job]:
    """A job for each file in `sources`, and for each picture in the folders there, which keep their place below `output`. What
    lies in `output` is no source, where that is within one of the folders.

    Raises FilesError where two pictures would have one target, or where there is no such file.
    """
    found: dict[Path, Path] = {}
    for source in sources:
        if source.is_dir():
            found |= {path: output / path.relative_to(source) for path in _pictures(source, output.resolve())}
        elif source.exists():
            found[source] = output / source.name
        else:
            raise FilesError(f"there is no file or folder {source}")
    twins = Counter(place.with_suffix("") for place in found.values())
    jobs = [Job(source, place if twins[place.with_suffix("")] > 1 else place.with_suffix("")) for source, place in found.items()]
    places: dict[Path, Path] = {}
    for job in jobs:  # two of one name, from two folders
        if job.stem in places:
            raise FilesError(f"{places[job.stem]} and {job.source} would have one target: translate them into two folders")
        places[job.stem] = job.source
    return jobs


def _pictures(folder: Path, output: Path) -> Iterator[Path]:
    """By name; what has a picture's suffix, of a format that is taken."""
    within = output != folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in TAKEN_SUFFIXES and path.is_file() and not (within and path.resolve().is_relative_to(output)):
            yield path


def write(target: Path, content: bytes, sources: Container[tuple[int, int]]) -> None:
    """Whole, or not at all. Raises FileExistsError where `target` is one of the `sources` by `identity`, and OSError."""
    if target.exists() and identity(target) in sources:
        raise FileExistsError(f"{target} is one of the pictures to translate, and is not written over: name another output folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def identity(path: Path) -> tuple[int, int]:
    """By which two names of one file are known. Raises OSError."""
    status = path.stat()
    return status.st_dev, status.st_ino


async def translate_files(jobs: list[Job], direction: str, options: Options, translator: Translator, in_flight: int) -> int:
    """Translate and write all, `in_flight` at once, with a progress bar on a terminal, else with a line for each that is written.
    How many failed; each of them is named on standard error."""
    failed = 0
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    sources = {identity(job.source) for job in jobs}
    left = iter(jobs)

    async def work() -> None:
        nonlocal failed
        for job in left:
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
