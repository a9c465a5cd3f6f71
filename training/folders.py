"""Where a domain's pictures are: those to train on, and those to judge by."""

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from pictures.identify import SUFFIXES
from training.config import ConfigError

log = logging.getLogger(__name__)

TRAIN = ("train", "training")
TEST = ("test", "tests", "testing", "val", "valid", "validation")
"""Names of folders, in small letters, by what is preferred."""


def list_pictures(folder: Path, without: Sequence[Path] = ()) -> list[Path]:
    """The picture files in `folder` and below, in a fixed order; links are followed, hidden files and folders left out, and the folders
    `without`. Raises ConfigError where there are none."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is {'no folder' if folder.exists() else 'not there'}: name the folder that the pictures are in")
    paths = sorted(_walk(folder, {each.resolve() for each in without}))
    if not paths:
        raise ConfigError(f"{folder} holds no pictures")
    return paths


def _walk(folder: Path, known: set[Path]) -> Iterator[Path]:
    """Each folder once, though links may lead to it, too; those `known` not at all."""
    if folder.resolve() in known:
        return
    known.add(folder.resolve())
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__MACOSX", "@eaDir")):
            continue
        if path.is_dir():
            yield from _walk(path, known)
        elif path.suffix.lower() in SUFFIXES:
            if path.is_file():
                yield path
            else:
                log.warning("skipped %s: a link to nothing", path)


def train_folder(domain: Path) -> Path:
    """Where a domain's training pictures are: in train/ where there is one, else in the folder itself."""
    return next(iter(_below(domain, TRAIN)), domain)


def train_pictures(domain: Path) -> list[Path]:
    """The domain's training pictures. Raises ConfigError where there are none."""
    return list_pictures(train_folder(domain), without=_tests(domain))


def test_pictures(domain: Path) -> list[Path]:
    """The domain's test pictures; where there are none, its training pictures, with a line in the log."""
    tests = _tests(domain)
    if not tests:
        _warn_once(f"{domain} has no test/ beside its training pictures: sheets and figures are of pictures that it was trained on")
        return train_pictures(domain)
    return list_pictures(tests[0])


def check_apart(run: Path, *domains: Path) -> None:
    """Raises ConfigError where a run would leave its sheets among the pictures that it is trained on."""
    for domain in domains:
        if train_folder(domain).resolve() in (run / "samples").resolve().parents:
            raise ConfigError(f"--run {run} lies among the pictures of {domain}: name a folder elsewhere, like runs/{run.name}")


def paired_folders(data: Path) -> dict[str, Path]:
    """trainA/ and trainB/ in `data`, as source and target. Raises ConfigError where they are not there."""
    folders = {name: _below(data, (f"train{letter}", letter)) for name, letter in (("source", "a"), ("target", "b"))}
    if not all(folders.values()):
        raise ConfigError(f"--data {data}: it has no trainA/ and trainB/; name the two folders of pictures with --source and --target")
    return {name: found[0] for name, found in folders.items()}


def _tests(domain: Path) -> list[Path]:
    """Where a domain's test pictures are: in test/ (or val/), or in testA/ beside a trainA/."""
    absolute = Path(os.path.abspath(domain))
    if paired := re.fullmatch("train([ab])", absolute.name.lower()):
        return _below(absolute.parent, [f"{name}{paired[1]}" for name in TEST])
    return _below(domain, TEST)


def _below(folder: Path, names: Sequence[str]) -> list[Path]:
    """The folders in `folder` that have one of the names, in small letters or capitals, by the order of names."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return sorted(
        (path for path in inside if path.name.lower() in names and path.is_dir()), key=lambda path: names.index(path.name.lower())
    )


@cache
def _warn_once(message: str) -> None:
    log.warning(message)


def fingerprint(paths: Sequence[Path], root: Path) -> str:
    """A hash of what pictures these are: their names below `root`, their sizes, and their first 64 kB. Where they lie does not count."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
            digest.update(file.read(65536))
    return digest.hexdigest()
