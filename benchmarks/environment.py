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
    installed = {}
    for name in names:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def contenders_python(folder: Path) -> Path:
    """Create or update the environment in `folder`, and return its interpreter."""
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    requirements = REQUIREMENTS.read_text() + "".join(f"{name}=={number}\n" for name, number in versions(SHARED).items())
    if not stamp.exists() or stamp.read_text() != requirements:
        with Console(stderr=True).status(f"installing the contenders in {folder}; this takes some minutes, once"):
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            new_stamp = folder / "unfinished.txt"
            new_stamp.write_text(requirements)
            subprocess.run([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", new_stamp], check=True)
            new_stamp.replace(stamp)
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
    match = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return match[1] if match else platform.processor() or platform.machine()
