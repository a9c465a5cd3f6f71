"""SIGHUP on a running service."""

import json
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from onnx import TensorProto, helper

from models.bundle import MANIFEST, read_manifest, sha256_of
from tests.conftest import Service, is_ready, pair, running_service, wait_until


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


def test_sighup_while_it_loads_ends_nothing(models: Path, photo: bytes) -> None:
    with running_service(models=models, ready=False) as running:
        wait_until(lambda: handles_sighup(running.process.pid))  # its interpreter has begun
        for _ in range(20):
            running.process.send_signal(signal.SIGHUP)
            time.sleep(0.1)
        wait_until(lambda: is_ready(running.client, running.process))
        assert running.translate(photo, size=64).status_code == 200


def test_where_no_model_can_be_run_it_says_why_and_ends(models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = models / "photo2monet"
    pictures, translations = (
        helper.make_tensor_value_info(name, TensorProto.UINT8, ["n", "h", "w", 3]) for name in ("pictures", "translations")
    )
    shape = helper.make_tensor("shape", TensorProto.INT64, [4], [1, 1, 1, 3])  # which none of the pictures has
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["pictures", "shape"], ["translations"])], "g", [pictures], [translations], [shape]
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    manifest = json.loads((folder / MANIFEST).read_text())
    (version,) = manifest["versions"]
    version["files"] = [file for file in version["files"] if file["purpose"] == "pictures"]
    for file in version["files"]:
        (folder / file["path"]).write_bytes(content)
        file["sha256"] = sha256_of(content)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with running_service(models=models, ready=False, drain_seconds=3) as running:
        wait_until(lambda: "No model could be run" in told(running))
        assert running.process.wait(30) == 3
    assert "Reshape" in capfd.readouterr().err


def handles_sighup(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return any(int(line.split()[1], 16) & 1 for line in status.splitlines() if line.startswith(("SigIgn", "SigCgt")))


def told(service: Service) -> str:
    """What /health/ready says; nothing while nothing listens."""
    try:
        return service.client.get("/health/ready").text
    except httpx.TransportError:
        return ""


def test_memory_of_versions_that_left_is_given_back(models: Path, photo: bytes) -> None:
    with running_service(models=models) as running:
        folder, process = models / "photo2monet", psutil.Process(running.process.pid)
        first, manifest = versions(running)["photo2monet"], (folder / MANIFEST).read_text()

        def used_once_served(version: int) -> int:
            running.process.send_signal(signal.SIGHUP)
            wait_until(lambda: versions(running)["photo2monet"] == version)
            assert running.translate(photo, size=256).status_code == 200
            return process.memory_full_info().uss

        few = used_once_served(first)
        many = used_once_served([add_version(folder, sound=True) for _ in range(8)][-1])
        (folder / MANIFEST).write_text(manifest)
        used_once_served(first)
        wait_until(lambda: process.memory_full_info().uss - few < 0.6 * (many - few))
