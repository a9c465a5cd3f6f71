"""`cyclegan bulk` on a folder, through a real local Ray."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PHOTO, ROOT, decoded


@pytest.mark.slow
def test_a_folder_is_translated_broken_files_are_named_and_a_second_run_resumes(tmp_path: Path) -> None:
    (tmp_path / "in" / "nested").mkdir(parents=True)
    for name in ("a.jpg", "nested/b.jpg"):
        shutil.copy(PHOTO, tmp_path / "in" / name)
    (tmp_path / "in" / "broken.png").write_text("no picture")
    places = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    command = [sys.executable, "-m", "service.cli", "bulk", *places, "--direction", "photo2monet", "--size", "128"]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_raylet_start_wait_time_s": "120"}
    first = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert first.returncode == 1
    assert "broken.png" in first.stderr
    outputs = [tmp_path / "out" / name for name in ("a.jpg.jpg", "nested/b.jpg.jpg")]
    assert {decoded(output.read_bytes()).shape for output in outputs} == {(85, 128, 3)}

    (tmp_path / "in" / "broken.png").unlink()
    outputs[1].unlink()
    kept = outputs[0].stat().st_mtime_ns
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=300)
    assert outputs[1].is_file()
    assert outputs[0].stat().st_mtime_ns == kept
