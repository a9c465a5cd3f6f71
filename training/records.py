"""How a run or a bundle was made: versions, commit and command, so that it can be reproduced."""

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
    """Return the records of this process. They contain no absolute paths of the machine."""
    return {
        "project": _version(PROJECT),
        "commit": _commit(),
        "python": platform.python_version(),
        "libraries": {name: installed for name in LIBRARIES if (installed := _version(name))},
        "command": command_line(sys.argv),
    }


def command_line(arguments: list[str]) -> str:
    """Return the command as it was typed, with absolute paths cut to their last part."""
    program = "python -m training" if arguments[0].endswith("__main__.py") else Path(arguments[0]).name
    return shlex.join([*program.split(), *(re.sub(r"(^|=)(?:~|/)\S*/(?=[^/])", r"\1", argument) for argument in arguments[1:])])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the checkout, with `+` if files have changed since; None outside a checkout."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
