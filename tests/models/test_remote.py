"""Bundles are shared by address, and what comes back is what was sent."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from pydantic import ValidationError

from models.bundle import BundleError, list_bundles, load_bundle
from models.remote import local_models, pull, push
from service.settings import Settings
from tests.conftest import ROOT
from tests.models.hub import Hub

BUNDLE = ROOT / "models" / "monet2photo"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A plain web server, and the folder that it shows."""
    folder = tmp_path / "site"
    shutil.copytree(BUNDLE, folder / "monet2photo")
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def the_same(one: Path, other: Path) -> bool:
    return {path.relative_to(one): path.read_bytes() for path in one.rglob("*") if path.is_file()} == {
        path.relative_to(other): path.read_bytes() for path in other.rglob("*") if path.is_file()
    }


def test_a_bundle_goes_to_the_hub_and_comes_back(hub: Hub, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from models.remote import pull, push\n"
        f"push(Path({str(BUNDLE)!r}), 'hf://me/paintings'); push(Path({str(BUNDLE)!r}), 'hf://me/paintings')\n"
        f"pull('hf://me/paintings', Path({str(tmp_path / 'models')!r}))"
    )
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_x", "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    assert "monet2photo/model.json" in hub.repositories["me/paintings"]
    assert hub.large, "the weights go as large files"
    assert the_same(tmp_path / "models" / "monet2photo", BUNDLE)


@pytest.mark.parametrize("command", [["pull", "--from"], ["push", "--model", str(BUNDLE), "--to"]], ids=lambda command: command[0])
def test_a_hub_that_cannot_be_reached_is_told_in_one_line(command: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_x", "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", "training", *command, "hf://me/paintings"]
    ended = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: hf://me/paintings: ")
    assert ended.stderr.count("\n") == 1


def test_bundles_are_pulled_from_a_plain_web_server_and_once(site: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = site
    assert [bundle.direction for bundle in pull(f"{url}/monet2photo", tmp_path / "one")] == ["monet2photo"]
    models = local_models(url, tmp_path / "cache")
    assert load_bundle(models / "monet2photo").direction == "monet2photo"
    shutil.rmtree(next(path for path in (folder / "monet2photo").iterdir() if path.is_dir()))
    assert local_models(url, tmp_path / "cache") == models
    assert local_models("models", tmp_path) == Path("models")


def test_the_service_takes_its_models_from_an_address(site: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CYCLEGAN_MODELS", site[0])
    assert [folder.name for folder in list_bundles(Settings().models)] == ["monet2photo"]
    monkeypatch.setenv("CYCLEGAN_MODELS", "http://127.0.0.1:9/models")
    with pytest.raises(ValidationError, match=r"127\.0\.0\.1"):
        Settings()


def test_what_was_changed_on_the_way_is_refused_and_the_old_bundle_stays(site: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = site
    pull(url, tmp_path)
    before = load_bundle(tmp_path / "monet2photo")
    manifest = folder / "monet2photo" / "model.json"
    sha = before.version.files[0].sha256
    manifest.write_text(manifest.read_text().replace(sha, "0" * 64))
    with pytest.raises(BundleError, match="does not match the sha256"):
        pull(url, tmp_path)
    assert load_bundle(tmp_path / "monet2photo").version == before.version


def test_any_storage_that_fsspec_knows_takes_bundles(tmp_path: Path) -> None:
    push(BUNDLE, "memory://bucket/models")
    pull("memory://bucket/models", tmp_path)
    assert the_same(tmp_path / "monet2photo", BUNDLE)
    fsspec.filesystem("memory").rm("/bucket", recursive=True)
    with pytest.raises(BundleError, match="memory://bucket/models"):
        pull("memory://bucket/models", tmp_path)


@pytest.mark.parametrize(
    ("url", "told"), [("s3://bucket/models", "s3fs"), ("nowhere://x", "nowhere"), ("http://127.0.0.1:9/x", "127.0.0.1")]
)
def test_an_address_that_cannot_be_read_is_named(url: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=rf"{url}.*{told}"):
        pull(url, tmp_path)
