"""What can be shown of the container files without a container engine."""

import re

import yaml

from tests.conftest import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


def test_compose_builds_a_target_that_there_is_and_mounts_files_that_there_are() -> None:
    build = COMPOSE["services"]["service"]["build"]
    assert (ROOT / build["dockerfile"]).is_file()
    assert f" AS {build['target']}\n" in DOCKERFILE
    for volume in COMPOSE["services"]["nginx"]["volumes"]:
        assert (ROOT / volume.split(":")[0]).is_file()


def test_only_nginx_is_reached_from_outside() -> None:
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["nginx"]
    assert COMPOSE["services"]["nginx"]["ports"] == ["8080:8080"]


def test_images_run_as_nobody_in_particular_and_tell_their_health() -> None:
    runtime = DOCKERFILE.split(" AS runtime")[1]
    assert re.search(r"^USER 10001:10001$", runtime, re.MULTILINE)
    assert "/health/live" in runtime
    assert "USER root" not in runtime


def test_what_is_copied_into_the_build_is_let_through_to_it() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    copied = {source.rstrip("/") for source in re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.MULTILINE)}
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
