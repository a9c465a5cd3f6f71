"""The tutorial's commands, as written, on folders that a user might have; only with fewer steps."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image, ImageFilter, ImageOps

from tests.conftest import PICTURES, ROOT, free_port, pair, wait_until

pytestmark = pytest.mark.slow
OURS = (".venv/bin/python -m training ", ".venv/bin/python -m service")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Photographs, and drawings of others."""
    for domain, names in (("photo", ("china", "flower")), ("drawing", ("coffee", "chelsea"))):
        (tmp_path / "pictures" / domain).mkdir(parents=True)
        for name in names:
            with Image.open(PICTURES / f"{name}.jpg") as picture:
                for i in range(3):
                    crop = picture.crop((60 * i, 0, 60 * i + 270, 270))
                    if domain == "drawing":
                        crop = ImageOps.invert(crop.convert("L").filter(ImageFilter.FIND_EDGES)).convert("RGB")
                    crop.save(tmp_path / "pictures" / domain / f"{name}{i}.png")
    return tmp_path


def test_the_tutorials_commands_lead_to_a_pair_on_the_page(home: Path) -> None:
    shutil.copytree(pair(), home / "models")
    (home / ".venv" / "bin").mkdir(parents=True)
    (home / ".venv" / "bin" / "python").symlink_to(sys.executable)
    text = (ROOT / "docs" / "tutorial.md").read_text()
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    ours = [command for command in commands if command.startswith(OURS) and " push " not in command]
    assert [command.split()[3] for command in ours[:-1]] == ["prepare", "prepare", "train", "train", "evaluate", "export", "sample"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CYCLEGAN_PORT": str(port := free_port())}
    for number, command in enumerate(ours[:-1], 1):
        fewer = re.sub(r"steps=\d+", f"steps={number}", command)
        arguments = [sys.executable, *shlex.split(fewer)[1:]]
        subprocess.run(arguments, cwd=home, env=environment, check=True, capture_output=True)
    assert (home / "data" / "drawing" / "contact.jpg").exists()
    assert list((home / "out").glob("*.png"))
    service = subprocess.Popen([sys.executable, "-m", "service"], cwd=home, env=environment)
    try:
        wait_until(lambda: is_ready(port), 120)
        directions = httpx.get(f"http://127.0.0.1:{port}/directions").text
        assert all(name in directions for name in ("photo2drawing", "drawing2photo"))
    finally:
        service.terminate()
        service.wait(timeout=60)


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
