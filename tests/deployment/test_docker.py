"""What can be shown of the container files without a container engine: they fit their published schemas and each other."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

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


@pytest.mark.parametrize("path", sorted((ROOT / "docker" / "kubernetes").glob("*.yaml")), ids=lambda path: path.stem)
def test_kubernetes_manifests_fit_the_published_schemas(path: Path) -> None:
    manifest: dict[str, Any] = yaml.safe_load(path.read_text())
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_dashboard_asks_for_metrics_that_there_are(service: Service) -> None:
    dashboard = json.loads((ROOT / "docker" / "grafana" / "dashboard.json").read_text())
    exported = service.client.get("/metrics").text
    for panel in dashboard["panels"]:
        for name in re.findall(r"(?:cyclegan|process)_\w+", panel["targets"][0]["expr"]):
            family = re.sub(r"_(bucket|sum|count|total)$", "", name)
            assert f"# TYPE {family}" in exported


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
    copied = {source.rstrip("/") for source in re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.MULTILINE)}
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
