"""`make test-lowest`: the service's quick tests with the lowest versions that pyproject.toml allows, in an environment of their own."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = ("hypothesis", "httpx", "psutil", "pytest")
QUICK = ("translate", "problems", "uploads", "client", "queue")
TESTS = (*(f"tests/service/test_{name}.py" for name in QUICK), "tests/pictures/test_formats.py")
    *(f"tests/service/test_{name}.py" for name in ("translate", "problems", "uploads", "client", "queue")),
    "tests/pictures/test_formats.py",
)


def main() -> None:
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as name:
        python = Path(name) / "bin" / "python"
        lowest = Path(name) / "lowest.txt"

        def run(*command: object) -> None:
            subprocess.run([str(part) for part in command], cwd=ROOT, check=True)

        run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, name)
        run(uv, "pip", "compile", "--quiet", "--resolution", "lowest-direct", "--extra", "formats", "pyproject.toml", "-o", lowest)
        run(uv, "pip", "install", "--quiet", "--python", python, "--requirement", lowest, *TOOLS)
        run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--editable", ".")
        run(python, "-m", "pytest", "-m", "not slow", "-q", *TESTS)


if __name__ == "__main__":
    main()
