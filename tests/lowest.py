"""`make test-lowest`: the service's quick tests with the lowest versions that pyproject.toml allows, in an environment of their own."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = ("hypothesis", "psutil", "pytest")
TESTS = (
    "tests/service/test_translate.py",
    "tests/service/test_problems.py",
    "tests/service/test_client.py",
    "tests/pictures/test_formats.py",
)


def main() -> None:
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as name:
        python, lowest = Path(name) / "bin" / "python", Path(name) / "lowest.txt"

        def run(*command: object) -> None:
            subprocess.run([str(part) for part in command], cwd=ROOT, check=True)

        run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, name)
        run(uv, "pip", "compile", "--quiet", "--resolution", "lowest-direct", "--extra", "formats", "pyproject.toml", "-o", lowest)
        run(uv, "pip", "install", "--quiet", "--python", python, "--requirement", lowest, *TOOLS)
        run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--editable", ".")
        run(python, "-m", "pytest", "-m", "not slow", *TESTS)


if __name__ == "__main__":
    main()
