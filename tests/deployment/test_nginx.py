"""The real nginx with docker/nginx.conf in front of the running service."""

import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from service.settings import Settings
from tests.conftest import ROOT, Service, assert_problem, decoded, free_port, wait_until

CONFIGURATION = ROOT / "docker" / "nginx.conf"
LIMIT = Settings.model_fields["max_upload_bytes"].default


@contextmanager
def running_nginx(upstream: str) -> Iterator[httpx.Client]:
    """nginx in front of `upstream` (host:port). Only addresses and the folder that it writes to differ from the configuration."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")  # which Debian keeps off a user's PATH
    assert program, "nginx is not installed: apt-get install nginx-light"
    port = free_port()
    configuration = CONFIGURATION.read_text().replace("service:8000", upstream).replace("listen 8080", f"listen 127.0.0.1:{port}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # where this is root, nginx's workers are not
        path = Path(folder) / "nginx.conf"
        path.write_text(configuration.replace("/tmp/nginx", f"{folder}/nginx"))
        process = subprocess.Popen([program, "-c", path, "-p", folder, "-g", "daemon off;"])
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                wait_until(lambda: process.poll() is None and _answers(client))
                yield client
        finally:
            process.terminate()
            process.wait(10)


def _answers(client: httpx.Client) -> bool:
    try:
        return bool(client.get("/metrics").status_code)
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def nginx(service: Service) -> Iterator[httpx.Client]:
    with running_nginx(service.url.removeprefix("http://")) as client:
        yield client


@pytest.mark.parametrize("direction", ["photo2monet", "monet2photo"])
def test_a_picture_goes_through_as_if_nginx_were_not_there(nginx: httpx.Client, service: Service, photo: bytes, direction: str) -> None:
    response = nginx.post(f"/translate?direction={direction}", files={"image": ("photo.jpg", photo)}, headers={"X-Request-ID": "mine"})
    assert response.headers.get_list("x-request-id") == ["mine"]
    assert decoded(response.content).shape == (342, 512, 3)
    assert response.content == service.translate(photo, direction).content


def test_several_pictures_go_through(nginx: httpx.Client, photo: bytes) -> None:
    response = nginx.post("/translate?direction=photo2monet&size=128", files=[("a", photo), ("b", photo)])
    assert len(zipfile.ZipFile(BytesIO(response.content)).namelist()) == 3


def test_problems_of_the_service_go_through(nginx: httpx.Client, photo: bytes) -> None:
    assert "directions" in assert_problem(nginx.post("/translate?direction=nowhere", files={"image": photo}), 404)


def test_upload_limit_is_the_services_to_the_byte(nginx: httpx.Client) -> None:
    assert re.search(r"client_max_body_size (\d+);", CONFIGURATION.read_text())[1] == str(LIMIT)  # type: ignore[index]
    too_large = assert_problem(nginx.post("/translate?direction=photo2monet", content=b"x" * (LIMIT + 1)), 413)
    assert too_large["limit"] == LIMIT
    assert assert_problem(nginx.post("/translate?direction=photo2monet", content=b"x" * LIMIT), 415)["title"] == "Not a picture"


def test_timeouts_are_above_the_services_deadline() -> None:
    seconds = [int(value) for value in re.findall(r"proxy_(?:read|send)_timeout (\d+)s", CONFIGURATION.read_text())]
    assert len(seconds) == 2
    assert min(seconds) > Settings.model_fields["deadline_seconds"].default


def test_metrics_stay_inside(nginx: httpx.Client) -> None:
    assert_problem(nginx.get("/metrics"), 404)


def test_page_and_health_are_reached(nginx: httpx.Client) -> None:
    assert "<form" in nginx.get("/").text
    assert nginx.get("/health/ready").status_code == 200


def test_without_a_service_it_says_so_in_a_problem(photo: bytes) -> None:
    with running_nginx(f"127.0.0.1:{free_port()}") as client:
        headers = {"X-Request-ID": "mine"}
        response = client.post("/translate?direction=photo2monet", files={"image": photo}, headers=headers)
        assert assert_problem(response, 502)["request_id"] == response.headers["x-request-id"] == "mine"


def test_headers_cannot_break_a_problem_of_nginxs_own(nginx: httpx.Client) -> None:
    assert '"' not in assert_problem(nginx.get("/metrics", headers={"X-Request-ID": 'a", "b": "'}), 404)["request_id"]
    assert_problem(nginx.get("/", headers={"X-Large": "x" * 40_000}), 400)
