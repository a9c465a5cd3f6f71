"""What made a run and a bundle: versions, the commit and the command, so that it can be made again."""

import platform
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PROJECT = "cyclegan-service"
LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "onnx", "onnxruntime-gpu", "onnxruntime")


@cache
def records() -> dict[str, Any]:
    """Of this process. Folders of the command are named, but not where on the machine they are."""
    return {
        "project": _version(PROJECT),
        "commit": _commit(),
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "command": command_line(sys.argv),
    }


def command_line(arguments: list[str]) -> str:
    """As it was typed, with absolute paths cut to their last part."""
    program = "python -m training" if arguments[0].endswith("__main__.py") else Path(arguments[0]).name
    return shlex.join([*program.split(), *(re.sub(r"(^|=)(?:~|/)\S*/(?=[^/])", r"\1", argument) for argument in arguments[1:])])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of the checkout that this is run from, with `+` where files were changed since; None outside of one."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
