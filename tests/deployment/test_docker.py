"""What can be shown of the container files without a container engine: they fit their published schemas and each other."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from packaging.utils import canonicalize_name

from service import __version__
from service.settings import Settings
from tests.conftest import ROOT, Service, free_port

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


def test_compose_fits_the_published_schema() -> None:
    command = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"]
    subprocess.run(command, check=True)


def test_compose_builds_targets_and_mounts_files_that_there_are() -> None:
    for service in COMPOSE["services"].values():
        if "build" in service:
            assert f" AS {service['build']['target']}\n" in DOCKERFILE
        else:
            assert re.search(r":v?\d+\.\d+\.\d+", service["image"])
        for volume in service.get("volumes", []):
            assert not volume.startswith(".") or (ROOT / volume.split(":")[0]).exists()


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_container_is_hardened_and_bounded(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_kubernetes_overlays_fit_the_published_schemas_and_each_other(overlay: str) -> None:
    command = ["kubectl", "kustomize", ROOT / "docker" / "kubernetes" / overlay]
    built = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    manifests: dict[str, dict[str, Any]] = {each["kind"]: each for each in yaml.safe_load_all(built)}
    scaler = manifests.pop("ScaledObject")  # KEDA's own, of which there is no schema here
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == f"cyclegan-service:{__version__}-{overlay}"
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) is (overlay == "gpu")
    assert pod["terminationGracePeriodSeconds"] > Settings.model_fields["deadline_seconds"].default
    assert scaler["spec"]["scaleTargetRef"]["name"] == manifests["Deployment"]["metadata"]["name"]
    (trigger,) = scaler["spec"]["triggers"]
    assert trigger["type"] == "prometheus"
    assert {"serverAddress", "query", "threshold"} <= trigger["metadata"].keys()
    assert all(isinstance(value, str) for value in trigger["metadata"].values())  # as KEDA wants numbers, too
    paths = {path["path"] for path in manifests["Ingress"]["spec"]["rules"][0]["http"]["paths"]}
    assert {"/translate", "/models", "/service-worker.js"} <= paths
    assert not {"/metrics", "/v2/repository"} & paths


def test_alert_rules_are_right_and_wake_nobody_for_nothing() -> None:
    assert shutil.which("promtool"), "promtool is not installed: apt-get install prometheus"
    subprocess.run(["promtool", "check", "rules", ROOT / "docker" / "alerts.yml"], check=True)
    subprocess.run(["promtool", "test", "rules", ROOT / "tests" / "deployment" / "alerts_test.yml"], check=True)


def test_board_alerts_and_scaler_ask_for_metrics_that_there_are(service: Service, photo: bytes) -> None:
    board = json.loads((ROOT / "docker" / "grafana" / "dashboard.json").read_text())
    asked = [panel["targets"][0]["expr"] for panel in board["panels"] if panel["type"] != "row"]
    asked += [rule["expr"] for rule in yaml.safe_load((ROOT / "docker" / "alerts.yml").read_text())["groups"][0]["rules"]]
    asked.append((ROOT / "docker" / "kubernetes" / "base" / "scaler.yaml").read_text().split("query:")[1])
    service.translate(photo, size=64)
    exported = service.client.get("/metrics").text
    for expression in asked:
        for name in re.findall(r"\b(?:cyclegan|process)_\w+", expression):
            family = re.sub(r"_(bucket|sum|count|total)$", "", name)
            assert f"# TYPE {family}" in exported
        for stage in re.findall(r'stage="(\w+)"', expression):
            assert f'stage="{stage}"' in exported


def test_health_check_of_the_image_follows_the_port(service: Service) -> None:
    command = json.loads(re.search(r"HEALTHCHECK.*\\\n\s+CMD (\[.*\])", DOCKERFILE)[1])  # type: ignore[index]
    for port, healthy in ((service.url.rpartition(":")[2], True), (str(free_port()), False)):
        ended = subprocess.run([sys.executable, *command[1:]], env=os.environ | {"CYCLEGAN_PORT": port}, capture_output=True)
        assert (ended.returncode == 0) is healthy


def test_images_run_as_nobody_in_particular() -> None:
    runtime = DOCKERFILE.split(" AS runtime")[1]
    assert re.search(r"^USER 10001:10001$", runtime, re.MULTILINE)
    assert "USER root" not in runtime


def test_what_is_copied_into_the_build_is_let_through_to_it() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    copied = {
        source.rstrip("/") for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for source in sources.split()
    }
    for source in copied:
        assert any(fnmatch(source, pattern) for pattern in allowed), source
        assert (ROOT / source).exists()


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_images_install_by_hash_all_that_the_project_needs_and_one_runtime(target: str) -> None:
    locked = (ROOT / "docker" / f"requirements-{target}.txt").read_text()
    names = {name.lower() for name in re.findall(r"^([A-Za-z0-9._-]+)==", locked, re.MULTILINE)}
    assert len(re.findall(r"--hash=sha256:", locked)) >= len(names)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["formats"], *project["optional-dependencies"]["otel"]]
    needed = {re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower() for requirement in wanted}  # type: ignore[index]
    assert needed - names == ({"onnxruntime"} if target == "gpu" else set())
    assert {name for name in names if name.startswith("onnxruntime")} == {"onnxruntime-gpu" if target == "gpu" else "onnxruntime"}


def test_third_parties_are_those_that_the_image_installs() -> None:
    locked = set(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "docker" / "requirements-cpu.txt").read_text(), re.MULTILINE))
    packages = (ROOT / "docs" / "third_party.md").read_text().split("## Packages")[1].split("\n## ")[0]
    listed = re.findall(r"^\| ([\w.-]+) \| (\d\S*) \|", packages, re.MULTILINE)
    assert {(canonicalize_name(name), version) for name, version in listed} == locked
