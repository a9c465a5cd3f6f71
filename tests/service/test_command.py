"""The command `cyclegan`, as a program."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import PHOTO, ROOT, Service, decoded, free_port, pair, wait_until


def cyclegan(*arguments: object, models: bool = True, **environment: str) -> subprocess.CompletedProcess:
    given = {"CYCLEGAN_MODELS": str(pair())} if models else {}
    command = [sys.executable, "-m", "service.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | given | environment, capture_output=True, text=True, timeout=120)


def test_the_version_is_one(service: Service) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert cyclegan("--version").stdout.strip() == version
    assert service.client.get("/openapi.json").json()["info"]["version"] == version
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of one name, one in a folder of its own, and one that is broken."""
    (tmp_path / "in" / "nested").mkdir(parents=True)
    for name in ("a.jpg", "nested/a.jpg"):
        shutil.copy(PHOTO, tmp_path / "in" / name)
    (tmp_path / "in" / "broken.png").write_text("no picture")
    (tmp_path / "in" / "notes.txt").write_text("not meant to be one")
    return tmp_path


@pytest.mark.parametrize("by", ["pipeline", "service"])
def test_files_and_folders_are_translated_as_by_the_service_and_broken_ones_are_named(
    by: str, folder: Path, service: Service, photo: bytes
) -> None:
    place = ("--url", service.url) if by == "service" else ()
    ended = cyclegan("translate", folder / "in", "--direction", "photo2monet", "-o", folder / "out", "--size", 128, *place)
    assert ended.returncode == 1
    assert "broken.png: " in ended.stderr
    assert "1 of 3" in ended.stderr
    written = sorted(path.relative_to(folder / "out") for path in (folder / "out").rglob("*") if path.is_file())
    assert written == [Path("a.photo2monet.jpg"), Path("nested/a.photo2monet.jpg")]
    assert sorted(ended.stdout.split()) == [str(folder / "out" / path) for path in written]
    assert decoded((folder / "out" / written[0]).read_bytes()).shape == (85, 128, 3)
    if by == "service":
        assert (folder / "out" / written[0]).read_bytes() == service.translate(photo, size=128).content


def test_pictures_are_never_written_over(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.photo2monet.jpg"):
        shutil.copy(PHOTO, tmp_path / name)
    before = PHOTO.read_bytes()
    ended = cyclegan("translate", tmp_path, "-d", "photo2monet", "-o", tmp_path, "--size", 64)
    assert ended.returncode == 1
    assert "not written over" in ended.stderr
    assert {(tmp_path / name).read_bytes() for name in ("a.jpg", "a.photo2monet.jpg")} == {before}
    assert (tmp_path / "a.photo2monet.photo2monet.jpg").exists()
    assert not list(tmp_path.glob(".*"))  # nothing unfinished is left


def test_what_was_written_is_no_source_the_next_time_and_twins_keep_their_suffix(tmp_path: Path) -> None:
    shutil.copy(PHOTO, tmp_path / "a.jpg")
    (tmp_path / "a.png").write_bytes(PHOTO.read_bytes())
    for _ in range(2):
        cyclegan("translate", tmp_path, "-d", "photo2monet", "-o", tmp_path / "out", "--size", 64, "--format", "png")
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg.photo2monet.png", "a.png.photo2monet.png"]


def test_what_cannot_be_done_is_told(tmp_path: Path, photo: bytes) -> None:
    known = cyclegan("translate", PHOTO, "-d", "nowhere", "-o", tmp_path)
    assert (known.returncode, "photo2monet" in known.stderr) == (1, True)
    missing = cyclegan("translate", tmp_path / "gone.jpg", "-d", "photo2monet", "-o", tmp_path)
    assert (missing.returncode, "gone.jpg" in missing.stderr) == (1, True)
    assert cyclegan("translate", PHOTO, "-d", "photo2monet", "-o", tmp_path, "--size", "huge").returncode == 2
    wrong = cyclegan("serve", CYCLEGAN_PORT="none")
    assert (wrong.returncode, "CYCLEGAN_PORT" in wrong.stderr) == (1, True)
    for ended in (known, missing, wrong):
        assert "Traceback" not in ended.stderr


def test_directions_are_listed_here_and_at_a_service(service: Service) -> None:
    here, there = cyclegan("directions"), cyclegan("directions", "--url", service.url)
    assert "photo2monet" in here.stdout
    assert here.stdout == there.stdout


def test_translating_needs_neither_torch_nor_ray_and_what_does_says_so(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(  # as on a machine that has neither
        "import sys\nclass Missing:\n    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('torch', 'ray'): raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    assert cyclegan("translate", PHOTO, "-d", "photo2monet", "-o", tmp_path, "--size", 64, PYTHONPATH=path).returncode == 0
    for command, module in {"train": "torch", "bulk": "ray"}.items():
        ended = cyclegan(command, "--help", PYTHONPATH=path)
        assert (ended.returncode, module in ended.stderr, "pip install" in ended.stderr) == (1, True, True)


def test_training_is_handed_its_arguments() -> None:
    assert "--preset" in cyclegan("train", "--help").stdout.replace("\n", "")


def test_serve_takes_its_port_and_ends_at_ctrl_c() -> None:
    port = free_port()
    command = [sys.executable, "-m", "service.cli", "serve", "--models", str(pair()), "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_until(lambda: process.poll() is None and _listens(port))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
