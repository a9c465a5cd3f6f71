"""The real nginx with docker/nginx.conf in front of the running service."""

import base64
import hashlib
import json
import re
import socket
import ssl
import threading
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
import trustme

from models.bundle import load_bundle
from service.settings import Settings
from tests.conftest import ROOT, Service, assert_problem, decoded, free_port, running_service
from tests.deployment.conftest import CONFIGURATION, running_nginx

LIMIT = Settings.model_fields["max_upload_bytes"].default


@pytest.fixture(scope="module")
def nginx(service: Service) -> Iterator[httpx.Client]:
    with running_nginx(service.address) as running, running.client() as client:
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


def test_every_path_is_reached_but_what_is_for_operators(nginx: httpx.Client, service: Service) -> None:
    assert "<form" in nginx.get("/").text
    paths = set(service.client.get("/openapi.json").json()["paths"]) | {"/docs", "/service-worker.js"}
    page = nginx.get("/").text
    paths |= {f"/{path}" for path in re.findall(r'(?:src|href)="(?:\./)?(web/[^"]+)"', page)}
    version = load_bundle(ROOT / "models" / "photo2monet").version.version
    for template in paths:
        path = template.format(name="photo2monet", direction="photo2monet", version=version, file="model.onnx")
        through, direct = nginx.get(path), service.client.get(path)
        if path == "/metrics" or path.startswith("/v2/repository"):
            assert_problem(through, 404)
        else:
            assert through.status_code == direct.status_code != 404, path


def test_security_headers_are_on_answers_and_on_errors_once(nginx: httpx.Client) -> None:
    for path in ("/", "/metrics"):
        headers = nginx.get(path).headers
        assert headers.get_list("x-content-type-options") == ["nosniff"]
        assert headers.get_list("x-frame-options") == ["DENY"]


@pytest.mark.parametrize("path", ["/", "/service-worker.js"])
def test_the_page_goes_through_with_its_headers(nginx: httpx.Client, service: Service, path: str) -> None:
    through, direct = nginx.get(path), service.client.get(path)
    assert through.content == direct.content
    assert "content-security-policy" in direct.headers
    for name in set(direct.headers) - {"date", "server", "x-request-id"}:
        assert through.headers.get_list(name) == direct.headers.get_list(name)


def test_the_log_tells_of_each_request_who_what_and_how_long(
    photo: bytes, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # as in docker-compose.yml
    with running_service(log_format="json") as service, running_nginx(service.address) as running, running.client("127.0.0.9") as client:
        headers = {"X-Request-ID": "mine", "X-Forwarded-For": "192.0.2.1"}
        answer = client.post("/translate?direction=photo2monet&size=64", files={"image": photo}, headers=headers)
        client.post("/translate?direction=nowhere", headers={"X-Request-ID": "refused"})
    parsed = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    lines = {line["request_id"]: line for line in parsed if line["event"] == "request"}
    line = lines["mine"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/translate", 200)
    assert line["client"] == "127.0.0.9"  # not what it claims to be
    assert line["direction"] == "photo2monet"
    assert (line["pictures"], line["bytes_in"], line["bytes_out"]) == (
        1,
        int(answer.request.headers["content-length"]),
        len(answer.content),
    )
    stages = sum(line[f"{stage}_ms"] for stage in ("decode", "queue", "infer", "encode"))
    assert 0 < stages <= line["ms"] + 1
    assert lines["refused"]["status"] == 404


def test_a_client_that_sends_too_much_is_429_and_others_are_answered(service: Service) -> None:
    with running_nginx(service.address) as running, running.client("127.0.0.2") as greedy, running.client("127.0.0.3") as other:
        refused = [answer for _ in range(400) if (answer := greedy.post("/translate")).status_code == 429]
        assert refused
        assert assert_problem(refused[0], 429)["retry_after"] == int(refused[0].headers["retry-after"]) == 1
        assert other.post("/translate").status_code == 422  # by the service


def test_oversized_body_is_refused_without_being_read_or_stored(service: Service) -> None:
    with running_nginx(service.address) as running, socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(b"POST /translate?direction=photo2monet HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n")
        assert b" 413 " in connection.recv(1000)  # though not a byte of the body was sent
        connection.sendall(b"x" * 2_000_000)  # nor is what comes all the same kept
        assert not [path for path in (running.folder / "nginx-body").rglob("*") if path.is_file()]


def test_with_certificates_there_are_tls_and_http_2(service: Service, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with running_nginx(service.address, certificates=tmp_path) as running, httpx.Client(http2=True, verify=context) as client:
        response = client.get(f"https://localhost:{running.tls_port}/directions")
        assert (response.status_code, response.http_version) == (200, "HTTP/2")
        assert "max-age" in response.headers["strict-transport-security"]


def test_without_a_service_it_says_so_in_a_problem(photo: bytes) -> None:
    with running_nginx(f"127.0.0.1:{free_port()}") as running, running.client() as client:
        headers = {"X-Request-ID": "mine"}
        response = client.post("/translate?direction=photo2monet", files={"image": photo}, headers=headers)
        assert assert_problem(response, 502)["request_id"] == response.headers["x-request-id"] == "mine"


def test_a_service_that_goes_and_comes_at_once_is_asked_again(photo: bytes) -> None:
    """As where replicas change while nginx looks for one that answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bodies: list[bytes] = []

        def serve() -> None:
            listener.accept()[0].close()
            connection = listener.accept()[0]
            with connection, connection.makefile("rb") as request:
                headers = dict(line.lower().split(b": ", 1) for line in iter(request.readline, b"\r\n") if b": " in line)
                bodies.append(request.read(int(headers[b"content-length"])))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        serving = threading.Thread(target=serve)
        serving.start()
        with running_nginx(f"127.0.0.1:{listener.getsockname()[1]}") as running, running.client() as client:
            assert client.post("/translate", content=photo).status_code == 200
        serving.join(10)
        assert bodies == [photo]


def test_headers_cannot_break_a_problem_of_nginxs_own(nginx: httpx.Client) -> None:
    assert '"' not in assert_problem(nginx.get("/metrics", headers={"X-Request-ID": 'a", "b": "'}), 404)["request_id"]
    assert_problem(nginx.get("/", headers={"X-Large": "x" * 40_000}), 400)


def test_with_a_cache_the_same_picture_is_translated_once(service: Service, photo: bytes) -> None:
    def sent(content: bytes, headers: dict[str, str], **parameters: object) -> tuple[httpx.Response, str]:
        given = {"direction": "photo2monet", "size": 64, **parameters}
        answer = client.post("/translate", params=given, content=content, headers=headers)
        return answer, answer.headers.get("x-cache", "")

    digest = {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(photo).digest()).decode()}:"}
    with running_nginx(service.address, cache=True) as running, running.client("127.0.0.4") as client:
        first, miss = sent(photo, digest)
        again, hit = sent(photo, digest)
        assert (miss, hit) == ("MISS", "HIT")
        assert first.content == again.content == service.translate(photo, size=64, name="picture").content
        assert first.headers["x-request-id"] != again.headers["x-request-id"]
        assert again.headers.get_list("x-content-type-options") == ["nosniff"]
        assert again.headers["etag"] == first.headers["etag"]
        for headers, parameters in ((digest | {"X-API-Key": "other"}, {}), (digest | {"Accept": "image/webp"}, {}), (digest, {"size": 65})):
            assert sent(photo, headers, **parameters)[1] == "MISS"
        assert sent(photo, {})[1] == sent(photo, {})[1] == "BYPASS"
        forged, _ = sent(photo[:-1], digest | {"X-API-Key": "forger"})  # which would be kept as the other's picture
        assert_problem(forged, 400)
        refused = [sent(photo, digest, quality=1000) for _ in range(2)]
        assert [(answer.status_code, cached) for answer, cached in refused] == [(422, "MISS")] * 2
