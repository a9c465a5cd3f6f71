"""Every problem of the contract that one process can meet, on running services."""

import asyncio
import gzip
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from service.app import create_app
from service.routes.dependencies import get_pipeline
from service.settings import Settings
from tests.conftest import PHOTO, ROOT, Service, assert_problem, encoded, running_service, wait_until


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises `width` × `height` pixels and holds next to none."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture(scope="module")
def strict() -> Iterator[Service]:
    """A service with small limits and keys."""
    settings = {"max_upload_bytes": 300_000, "max_files": 3, "max_pixels": 300_000, "api_keys": "old-key, new-key"}
    with running_service(**settings) as running:
        running.client.headers["Authorization"] = "Bearer new-key"
        yield running


def test_unknown_direction_names_those_there_are(service: Service, photo: bytes) -> None:
    problem = assert_problem(service.translate(photo, "photo2picasso"), 404)
    assert problem["directions"] == ["monet2photo", "photo2monet"]


def test_unknown_path_and_wrong_method_are_problems_too(service: Service) -> None:
    assert_problem(service.client.get("/nowhere"), 404)
    wrong_method = service.client.get("/translate")
    assert_problem(wrong_method, 405)
    assert wrong_method.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "image/jpeg"),
        (b"--b\r\nContent-Disposition: form-data; name=note\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"whatever", "multipart/form-data"),
        (b'--b\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n--b--\r\n', "multipart/form-data; boundary=b"),
        (b"no boundary in here", "multipart/form-data; boundary=b"),
    ],
)
def test_body_without_a_picture_is_400(service: Service, content: bytes, content_type: str) -> None:
    response = service.client.post("/translate?direction=photo2monet", content=content, headers={"Content-Type": content_type})
    assert_problem(response, 400)


@pytest.mark.parametrize("content", [b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\0" * 1000, b"GIF", b"hello"])
def test_what_is_no_picture_is_415(service: Service, content: bytes) -> None:
    assert "JPEG" in assert_problem(service.translate(content), 415)["detail"]


def test_format_that_is_not_allowed_is_415(service: Service) -> None:
    assert_problem(service.translate(encoded(Image.open(PHOTO).resize((64, 64)), "ICO")), 415)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_truncated_picture_is_422(service: Service, photo: bytes, kept: float) -> None:
    assert_problem(service.translate(photo[: int(len(photo) * kept)]), 422)


def test_pixel_bomb_is_refused_from_its_header(service: Service) -> None:
    problem = assert_problem(service.translate(png_header(60_000, 60_000)), 422)
    assert problem["limit"] == 50_000_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 63},
        {"size": 4097},
        {"size": "big"},
        {"format": "bmp"},
        {"quality": 0},
        {"strength": 1.1},
        {"output": "x"},
        {"version": 0},
        {"keep_colours": True},
    ],
)
def test_parameter_out_of_range_is_named(service: Service, photo: bytes, wrong: dict) -> None:
    assert next(iter(wrong)) in assert_problem(service.translate(photo, **wrong), 422)["detail"]


def test_direction_is_required_in_the_address(service: Service, photo: bytes) -> None:
    response = service.client.post("/translate", files={"image": photo}, data={"direction": "photo2monet"})
    assert "/translate?direction=" in assert_problem(response, 422)["detail"]


def test_unknown_version_names_those_there_are(service: Service, photo: bytes) -> None:
    assert assert_problem(service.translate(photo, version=99), 404)["versions"] == [4]


def test_a_compressed_body_is_told_to_come_as_it_is(service: Service, photo: bytes) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "image/jpeg"}
    response = service.client.post("/translate?direction=photo2monet", content=gzip.compress(photo), headers=headers)
    assert "gzip" in assert_problem(response, 415)["detail"]


def test_several_pictures_are_too_many_for_a_cycle(service: Service, photo: bytes) -> None:
    response = service.client.post("/cycle?direction=photo2monet", files=[("a", photo), ("b", photo)])
    assert_problem(response, 400)


def test_larger_upload_than_allowed_is_413_whether_its_length_is_told_or_not(strict: Service) -> None:
    body = b"x" * 300_001
    assert assert_problem(strict.client.post("/translate?direction=photo2monet", content=body), 413)["limit"] == 300_000
    assert_problem(strict.client.post("/translate?direction=photo2monet", content=iter([body])), 413)
    assert_problem(strict.translate(body), 413)


def test_upload_that_is_too_large_is_refused_before_it_is_read(strict: Service) -> None:
    host, port = strict.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = "POST /translate?direction=photo2monet HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\nX-API-Key: old-key\r\n\r\n"
        connection.sendall(head.encode())
        assert b" 413 " in connection.recv(1000)


def test_more_files_than_allowed_are_413(strict: Service) -> None:
    response = strict.client.post("/translate?direction=photo2monet", files=[(str(i), b"x") for i in range(4)])
    assert assert_problem(response, 413)["limit"] == 3


def test_more_pixels_than_allowed_are_422(strict: Service) -> None:
    assert_problem(strict.translate(encoded(Image.new("RGB", (600, 501)), "PNG")), 422)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic new-key"}, {"X-API-Key": ""}])
def test_request_without_a_key_that_fits_is_401(strict: Service, photo: bytes, headers: dict) -> None:
    response = httpx.post(f"{strict.url}/translate?direction=photo2monet", files={"image": photo}, headers=headers)
    assert_problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer old-key"}, {"X-API-Key": "new-key"}])
def test_each_key_fits_and_health_is_open(strict: Service, headers: dict) -> None:
    assert httpx.get(f"{strict.url}/directions", headers=headers).status_code == 200
    assert httpx.get(f"{strict.url}/health/ready").status_code == 200


def test_deadline_that_passes_is_504(photo: bytes) -> None:
    with running_service(deadline_seconds=1e-6) as running:
        assert_problem(running.translate(photo), 504)
        assert running.client.get("/health/live").status_code == 200


def test_before_the_models_are_loaded_it_is_not_ready_but_alive(photo: bytes) -> None:
    app = create_app(Settings(log_format="json"))  # outside its lifespan nothing is loaded

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            translation = await client.post("/translate?direction=photo2monet", files={"image": photo})
            return [await client.get("/health/live"), await client.get("/health/ready"), translation]

    live, *not_ready = asyncio.run(ask())
    assert live.status_code == 200
    for response in not_ready:
        assert_problem(response, 503)
        assert response.headers["retry-after"] == "1"


def test_sigterm_fails_readiness_first_answers_all_that_comes_and_ends(photo: bytes) -> None:
    with running_service(drain_seconds=3) as running, ThreadPoolExecutor(1) as other:
        url = f"{running.url}/translate?direction=photo2monet&size=original"
        large = encoded(Image.open(PHOTO).resize((1200, 801)), "JPEG")
        pending = other.submit(httpx.post, url, files={"image": large}, timeout=60)
        time.sleep(0.5)
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: running.client.get("/health/ready").status_code == 503)
        assert assert_problem(running.client.get("/health/ready"), 503)["title"] == "Draining"
        assert running.client.get("/v2/health/ready").status_code == 503
        assert running.translate(photo, size=64).status_code == 200  # which load balancers send still
        assert pending.result().status_code == 200
        running.process.wait(20)


def ended_at_once(**settings: str) -> str:
    """What the service says where it cannot be started with these."""
    environment = os.environ | {f"CYCLEGAN_{name}": value for name, value in settings.items()}
    ended = subprocess.run([sys.executable, "-m", "service"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_settings_that_cannot_be_used_are_named_at_start(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[shop]\nkey = "secret"\nrate = "often"\n')
    told = ended_at_once(
        PORT="http", DEFAULT_SIZE="5", PROVIDERS="cuda", PRECISION="int4", TRAFFIC="photo2monet", API_KEYS="schlüssel", KEYS_FILE=str(keys)
    )
    for name, word in {
        "PORT": "integer", "DEFAULT_SIZE": "64", "PROVIDERS": "CPUExecutionProvider", "PRECISION": "int8", "TRAFFIC": "=share",
        "API_KEYS": "ASCII", "KEYS_FILE": "100/minute",
    }.items():  # fmt: skip
        (line,) = (line for line in told.splitlines() if f"CYCLEGAN_{name}:" in line)
        assert word in line
    assert "secret" not in told
    assert "CYCLEGAN_PROVIDERS" in ended_at_once(PROVIDER="auto")  # a misspelt variable


def test_folder_without_a_sound_bundle_ends_the_service_with_a_word(tmp_path: Path) -> None:
    environment = os.environ | {"CYCLEGAN_MODELS": str(tmp_path), "CYCLEGAN_PORT": "0"}
    ended = subprocess.run([sys.executable, "-m", "service"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "no bundle in" in ended.stderr
    assert "CYCLEGAN_MODELS" in ended.stderr


def test_show_settings_prints_every_setting_but_no_key() -> None:
    environment = os.environ | {"CYCLEGAN_API_KEYS": "secret-key", "CYCLEGAN_PORT": "8123"}
    command = [sys.executable, "-m", "service", "--show-settings"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60).stdout
    assert "CYCLEGAN_PORT=8123" in shown
    assert all(f"CYCLEGAN_{name.upper()}=" in shown for name in Settings.model_fields)
    assert "secret-key" not in shown


def test_requests_have_their_line_in_the_log_slow_ones_with_their_stages_and_probes_none(
    photo: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with running_service(log_format="json", slow_seconds=0.02) as running:
        running.client.get("/directions", headers={"X-Request-ID": "mine"}).raise_for_status()
        running.translate(photo, headers={"X-Request-ID": "slow"}).raise_for_status()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    told = {line["request_id"]: line for line in lines if "request" in line["event"] and "request_id" in line}
    assert (told["mine"]["path"], told["mine"]["status"], told["mine"]["level"]) == ("/directions", 200, "info")
    assert (told["slow"]["event"], told["slow"]["level"]) == ("slow request", "warning")
    assert {"upload_ms", "admission_ms", "decode_ms", "queue_ms", "infer_ms", "encode_ms"} <= told["slow"].keys()
    assert not any(line["event"] == "request" and line["path"] == "/health/ready" for line in lines)


def test_a_full_disk_under_the_log_stops_nothing(photo: bytes) -> None:
    with Path("/dev/full").open("w") as full, running_service(log=full) as running:
        assert running.translate(photo, size=64).status_code == 200
        assert_problem(running.translate(b"no picture"), 415)


def test_a_defect_is_a_problem_to_the_client(capfd: pytest.CaptureFixture[str], photo: bytes) -> None:
    async def fails() -> None:
        raise RuntimeError("this is a defect")

    app = create_app(Settings(log_format="json"))
    app.dependency_overrides[get_pipeline] = fails

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://service") as client:
            return await client.post("/translate?direction=photo2monet", files={"image": photo})

    assert "request_id" in assert_problem(asyncio.run(ask()), 500)["detail"]
