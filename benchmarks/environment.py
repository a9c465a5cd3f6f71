"""The contenders' virtual environment, and a description of the machine."""

import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console

from service.machine import usable_cpus

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
SHARED = ("fastapi", "httptools", "numpy", "onnxruntime", "onnxruntime-gpu", "pillow", "python-multipart", "uvicorn", "uvloop")


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of installed packages."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def contenders_python(folder: Path) -> Path:
    """Create or update the environment in `folder`, and return its interpreter."""
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = REQUIREMENTS.read_text() + "".join(f"{name}=={number}\n" for name, number in versions(SHARED).items())
    if not stamp.exists() or stamp.read_text() != wanted:
        with Console(stderr=True).status(f"installing the contenders in {folder}: some minutes, once"):
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            unfinished = folder / "unfinished.txt"
            unfinished.write_text(wanted)
            subprocess.run([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", unfinished], check=True)
            unfinished.replace(stamp)
    return python


def machine() -> dict[str, Any]:
    """Describe the machine and the versions, which a reader needs to judge the figures."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": _processor(),
        "cpus": usable_cpus(),
        "load average before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **versions(SHARED),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return named[1] if named else platform.processor() or platform.machine()
