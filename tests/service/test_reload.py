"""SIGHUP on a running service."""

import json
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from models.bundle import MANIFEST, read_manifest
from tests.conftest import Service, pair, running_service, wait_until


def add_version(folder: Path, sound: bool) -> int:
    """The newest version once more, as a newer one; returns its number."""
    newest = max(read_manifest(folder).versions, key=lambda version: version.version)
    number = newest.version + 1
    shutil.copytree(folder / str(newest.version), folder / str(number))
    if not sound:
        (folder / str(number) / "model.onnx").write_bytes(b"broken")
    files = [file.model_copy(update={"path": f"{number}/{file.path.rpartition('/')[2]}"}) for file in newest.files]
    added = newest.model_copy(update={"version": number, "files": tuple(files)})
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["versions"].append(added.model_dump(mode="json"))
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return number


def versions(service: Service) -> dict[str, int]:
    return {entry["direction"]: entry["version"] for entry in service.client.get("/directions").json()}


def test_sighup_loads_what_is_new_with_no_request_lost(models: Path, photo: bytes) -> None:
    with running_service(models=models) as running, ThreadPoolExecutor(4) as clients:
        before = versions(running)["photo2monet"]
        pending = [clients.submit(running.translate, photo, size=256) for _ in range(40)]
        number = add_version(models / "photo2monet", sound=True)
        shutil.copytree(pair() / "monet2photo", models / "monet2photo")
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: versions(running) == {"photo2monet": number, "monet2photo": before})
        assert {answer.result().status_code for answer in pending} == {200}
        assert len({answer.result().content for answer in pending}) == 1
        assert running.translate(photo, "monet2photo", size=64).status_code == 200


def test_a_bundle_that_does_not_load_leaves_the_one_before_it_in_service(models: Path, photo: bytes) -> None:
    with running_service(models=models) as running:
        before = versions(running)
        add_version(models / "photo2monet", sound=False)
        shutil.copytree(pair() / "monet2photo", models / "monet2photo")
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "monet2photo" in versions(running))
        assert versions(running)["photo2monet"] == before["photo2monet"]
        assert running.translate(photo, size=64).status_code == 200
