"""How the service is reached: HEAD, other origins, sub-paths, heads that are too large, idle connections."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from tests.conftest import Service, assert_problem, running_service

ORIGIN = {"Origin": "https://app.example"}


@pytest.fixture(scope="module")
def published() -> Iterator[Service]:
    with running_service(root_path="/paint", cors_origins="https://app.example", keep_alive_seconds=2) as running:
        yield running


def connected(service: Service) -> socket.socket:
    host, port = service.address.split(":")
    return socket.create_connection((host, int(port)), timeout=20)


@pytest.mark.parametrize("path", ["/", "/health/live", "/health/ready", "/directions", "/docs", "/openapi.json", "/metrics", "/v2"])
def test_head_is_answered_wherever_get_is(service: Service, path: str) -> None:
    got, headed = service.client.get(path), service.client.head(path)
    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["content-type"] == got.headers["content-type"]
    assert service.client.head("/translate").status_code == 405


def test_pages_of_the_origins_that_are_set_may_use_the_service(published: Service, photo: bytes) -> None:
    asked = ORIGIN | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    allowed = published.client.options("/translate", headers=asked)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://app.example")
    answer = published.translate(photo, size=64, headers=ORIGIN)
    assert "X-Model" in answer.headers["access-control-expose-headers"]
    assert published.client.options("/translate", headers=asked | {"Origin": "https://other.example"}).status_code == 400
    assert "access-control-allow-origin" not in published.translate(b"", headers={"Origin": "https://other.example"}).headers


@pytest.mark.parametrize(("path", "prefix", "root"), [("", None, "/paint"), ("/paint", None, "/paint"), ("", "/a/b", "/a/b")])
def test_below_a_sub_path_pages_and_redirects_keep_it(published: Service, path: str, prefix: str | None, root: str) -> None:
    headers = {"X-Forwarded-Prefix": prefix} if prefix else {}
    page = published.client.get(f"{path}/docs", headers=headers)
    assert f"'{root}/openapi.json'" in page.text
    assert published.client.get(f"{path}/openapi.json", headers=headers).json()["servers"] == [{"url": root}]
    moved = published.client.get(f"{path}/directions/", headers=headers)
    assert moved.headers["location"] == f"{published.url}{root}/directions"
    assert published.client.get(f"{path}/web/docs/swagger-ui.css", headers=headers).status_code == 200


def test_a_prefix_that_is_no_path_is_ignored(service: Service) -> None:
    assert "alert" not in service.client.get("/docs", headers={"X-Forwarded-Prefix": "/'-alert(1)-'"}).text


@pytest.mark.parametrize("where", ["header", "headers", "address", "trailer"])
def test_a_head_that_is_too_large_is_431_however_it_comes(service: Service, where: str) -> None:
    long = b"a" * 100_000
    begin = b"POST /translate?direction=photo2monet HTTP/1.1\r\nHost: x\r\n"
    sent = {
        "header": begin + b"X-Long: " + long + b"\r\n\r\n",
        "headers": begin + b"X: a\r\n" * 20_000 + b"\r\n",
        "address": b"GET /?" + long + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        "trailer": begin + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Long: " + 5 * long + b"\r\n\r\n",
    }[where]
    with connected(service) as connection:
        connection.sendall(sent)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in answer


def test_a_head_that_trickles_in_is_not_waited_for() -> None:
    with running_service(stall_seconds=1) as running, connected(running) as silent, connected(running) as slow:
        slow.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /health/live HTTP/1.1\r\nX-Slow: ")
        slow.settimeout(0.1)
        answers = b""
        while b"stalled-head" not in answers:
            with suppress(TimeoutError):
                slow.sendall(b"x")
                answers += slow.recv(65536)
        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"408"]
        assert silent.recv(1) == b""


def test_what_is_not_http_is_a_problem(service: Service) -> None:
    with connected(service) as connection:
        connection.sendall(b"hello\r\n\r\n")
        assert b"urn:cyclegan:problem:malformed-request" in connection.recv(65536)


def test_idle_connections_stay_open_as_long_as_is_set(published: Service) -> None:
    with connected(published) as connection:
        for _ in range(2):
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b'{"status":"live"}'):
                answer += connection.recv(4096)
            begun = time.monotonic()
        assert connection.recv(1) == b""
        assert time.monotonic() - begun > 1.5


def test_an_answer_that_the_client_has_is_304_before_anything_is_decoded(service: Service, photo: bytes) -> None:
    first = service.translate(photo, size=64)
    assert first.headers["x-model"].startswith("photo2monet/4/")
    known = {"If-None-Match": f'"other", W/{first.headers["etag"]}'}
    same = service.translate(photo, size=64, headers=known)
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (same.headers["vary"], same.headers["x-model"]) == ("Accept", first.headers["x-model"])
    others = [
        service.translate(photo, size=65, headers=known),
        service.translate(photo, size=64, headers=known | {"Accept": "image/webp"}),
        service.translate(photo + b"\0", size=64, headers=known),
        service.translate(photo, "monet2photo", size=64, headers=known),
        service.client.post("/cycle?direction=photo2monet&size=64", files={"image": photo}, headers=known),
    ]
    assert [other.status_code for other in others] == [200] * 5
    assert len({other.headers["etag"] for other in [first, *others]}) == 6
    assert_problem(service.translate(b"no picture", headers={"If-None-Match": "*"}), 415)


def test_a_zip_has_an_etag_unless_a_picture_in_it_failed(service: Service, photo: bytes) -> None:
    def send(*contents: bytes) -> httpx.Response:
        return service.client.post("/translate?direction=photo2monet&size=64", files=[("image", content) for content in contents])

    assert send(photo, photo).headers["etag"]
    broken = send(photo, photo[:5000])
    assert "etag" not in broken.headers
    assert broken.headers["cache-control"] == "no-store"
