"""Bodies: whatever is in them, and however they are cut up on their way, the pictures are those that were sent."""

import asyncio
import itertools
import re
import socket
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import UploadFile

from service.errors import Problem
from service.routes.bodies import Budget
from service.routes.uploads import IN_MEMORY, read_uploads
from service.settings import Settings
from tests.conftest import Service, assert_problem, running_service, wait_until

BOUNDARY = "b-b"
PIECES = st.sampled_from([b"\r", b"\n", b"-", b"b", b"\r\n--b-", b"\r\n\r\n", b"\r\n--b-bb", b"\0\xff"])
CONTENTS = st.lists(PIECES, max_size=8).map(b"".join).filter(lambda content: not re.search(rb"\r\n--b-b", content + b"\r\n"))
"""Nearly delimiters, but none."""
NAMES = st.sampled_from(["photo.jpg", "über uns.png", 'a "quoted" name.webp', "C:\\pictures\\b.jpg"])
HEAD = b'Content-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
URL = "/translate?direction=photo2monet&size=64"


def a_request(content: bytes, cuts: Sequence[int] = (), limit: int = 10**9) -> Request:
    """Of a form that comes in pieces, cut at those places."""
    edges = [0, *sorted(cuts), len(content)]
    pieces = [content[start:end] for start, end in itertools.pairwise(edges)]
    messages = iter([{"type": "http.request", "body": piece, "more_body": True} for piece in pieces] + [{"type": "http.request"}])

    async def receive() -> dict:
        return next(messages)

    headers = [(b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode())]
    app = SimpleNamespace(state=SimpleNamespace(uploads=Budget(limit)))
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers, "app": app, "state": {"facts": {}}}
    return Request(scope, receive)


async def _read(request: Request, **limits: int) -> list[tuple[str, bytes]]:
    async with read_uploads(request, Settings(**limits), frozenset({"direction"})) as uploads:
        read = [(each.name, each.source.read_bytes() if isinstance(each.source, Path) else each.source) for each in uploads]
    assert request.app.state.uploads.held == 0
    return read


def read(content: bytes, cuts: Sequence[int] = (), **limits: int) -> list[tuple[str, bytes]]:
    return asyncio.run(_read(a_request(content, cuts), **limits))


async def as_starlette_reads(content: bytes) -> list[bytes]:
    form = await a_request(content).form()
    return [await field.read() for _, field in form.multi_items() if isinstance(field, UploadFile)]


@settings(max_examples=200, deadline=None)
@given(files=st.lists(st.tuples(NAMES, CONTENTS), min_size=1, max_size=4), fields=st.integers(0, 2), data=st.data())
def test_pictures_arrive_as_they_were_sent(files: list[tuple[str, bytes]], fields: int, data: st.DataObject) -> None:
    parts = [(f"field-{number}", (None, b"value")) for number in range(fields)] + [("image", file) for file in files]
    form = httpx.Request("POST", "http://a", files=parts, headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}).read()
    cuts = data.draw(st.lists(st.integers(0, len(form)), max_size=6))
    expected = [content for _, content in files]
    assert asyncio.run(as_starlette_reads(form)) == expected
    assert [content for _, content in read(form, cuts)] == expected
    assert read(form, cuts) == read(form, range(len(form)))


def part(head: str, content: bytes = b"picture") -> bytes:
    return f"--b-b\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("name=image; filename*=UTF-8''caf%C3%A9.jpg", "café"),
        ("name=image\r\nContent-Type: image/jpeg", "picture"),
        ("name=image\r\nContent-Type: application/octet-stream", "picture"),
        ('name=image; filename="/home/me/holiday.jpg"', "holiday"),
        ('name=image; filename=""', "picture"),
        ('name=image; filename="a.jpg"\r\nContent-Transfer-Encoding: binary', "a"),
    ],
)
def test_whatever_tells_a_file_is_a_picture(head: str, name: str) -> None:
    assert read(part(head) + b"--b-b--\r\n") == [(name, b"picture")]


@pytest.mark.parametrize("end", [b"--b-b--", b"--b-b--\r\n", b"--b-b--  \t\r\n", b"--b-b--\r\ngoodbye\r\n--b-b\r\n"])
@pytest.mark.parametrize("begin", [b"", b"hello\r\n"])
def test_what_is_around_a_form_is_ignored(begin: bytes, end: bytes) -> None:
    assert read(begin + part("name=image; filename=a.jpg") + end) == [("a", b"picture")]


@pytest.mark.parametrize(
    ("form", "status", "why"),
    [
        (b"--b-b\r\n" + HEAD + b"picture", 400, "ends before its last boundary"),
        (b"--b-b\r\n" + HEAD + b"picture\r\n--b-b", 400, "ends before its last boundary"),
        (b"--b-b\r\npicture\r\n\r\npicture\r\n--b-b--", 400, "cannot be read"),
        (b"--b-b\r\nX: " + b"x" * 9000 + b"\r\n" + HEAD + b"picture\r\n--b-b--", 400, "cannot be read"),
        (b"--b-b" + b"\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n--b-b" * 1001 + b"--", 400, "number of fields is 1000"),
        (part("name=image; filename=a.jpg").replace(b"b-b", b"other") + b"--other--", 400, "boundary is nowhere in it"),
        (part("name=image; filename=a.jpg").replace(b"\r\n", b"\n") + b"--b-b--", 400, "CR and LF"),
        (part("name=image", b"photo.jpg") + b"--b-b--", 400, "'photo.jpg' .*@"),
        (part("name=image", b"data:image/png;base64,iVBORw0KGgo=") + b"--b-b--", 400, "image is a data URI"),
        (part("name=image", b"\xff\xd8\xff\xe0") + b"--b-b--", 400, "image is a JPEG, but has no filename"),
        (part('name=image; filename="a.jpg"\r\nContent-Transfer-Encoding: base64') + b"--b-b--", 415, "base64"),
        (part("name=direction", b"photo2monet") + b"--b-b--", 422, r"/translate\?direction="),
    ],
)
def test_a_form_that_is_not_taken_is_told_what_is_wrong(form: bytes, status: int, why: str) -> None:
    with pytest.raises(Problem, match=why) as refused:
        read(form)
    assert refused.value.status == status


def test_the_rest_is_not_read_once_there_are_too_many_files() -> None:
    piece = part("name=image; filename=a.jpg")
    request = a_request(piece * 9, cuts=[len(piece) * number for number in range(1, 9)])
    with pytest.raises(Problem) as refused:
        asyncio.run(_read(request, max_files=3))
    assert refused.value.status == 413
    assert len(asyncio.run(read_rest(request))) == len(piece) * 5


async def read_rest(request: Request) -> bytes:
    rest = b""
    while piece := (await request.receive()).get("body"):
        rest += piece
    return rest


def test_a_large_picture_waits_in_a_file_which_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    large = bytes(range(256)) * (IN_MEMORY // 100)
    form = part("name=image; filename=a.jpg", large) + part("name=image; filename=b.jpg", b"small") + b"--b-b--"

    async def sources() -> list[type]:
        async with read_uploads(a_request(form, range(0, len(form), 65536)), Settings(), frozenset()) as uploads:
            assert uploads[0].source.read_bytes() == large
            return [type(upload.source) for upload in uploads]

    assert [issubclass(each, Path) for each in asyncio.run(sources())] == [True, False]
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "read-only"))
    assert read(form, range(0, len(form), 65536)) == [("a", large), ("b", b"small")]


def test_a_request_beyond_the_budget_is_refused_and_gives_back_what_it_held() -> None:
    form = part("name=image; filename=a.jpg", b"x" * 100_000) + b"--b-b--"
    request = a_request(form, range(0, len(form), 4096), limit=50_000)
    with pytest.raises(Problem) as refused:
        asyncio.run(_read(request))
    assert (refused.value.status, request.app.state.uploads.held) == (503, 0)
    assert refused.value.headers["Retry-After"]


def half_sent(service: Service, length: int, sent: int) -> socket.socket:
    """The head of a request, and the first `sent` bytes of its body."""
    host, port = service.address.split(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + b"x" * sent)
    return connection


def test_a_body_that_stalls_or_trickles_ends_with_408() -> None:
    with running_service(stall_seconds=1) as running:
        for trickle in (b"", b"x"):
            with half_sent(running, 10_000_000, 5_000) as connection:
                connection.settimeout(0.1)
                answer = b""
                while not answer:
                    connection.sendall(trickle)
                    with suppress(TimeoutError):
                        answer = connection.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"connection: close" in answer.lower()


def test_half_sent_bodies_hold_little_memory_and_others_are_told_to_wait_beyond_the_budget(photo: bytes) -> None:
    with running_service(max_uploads_bytes=60_000_000) as running, ExitStack() as connections:

        def held() -> float:
            (line,) = (line for line in running.client.get("/metrics").text.splitlines() if line.startswith("cyclegan_upload_bytes "))
            return float(line.split()[1])

        running.translate(photo, size=64)
        before = psutil.Process(running.process.pid).memory_info().rss
        for _ in range(2):
            connections.enter_context(half_sent(running, 31_000_000, 20_000_000))
        wait_until(lambda: held() == 40_000_000)
        assert psutil.Process(running.process.pid).memory_info().rss - before < 20_000_000
        problem = assert_problem(running.client.post(URL, content=b"x" * 25_000_000), 503)
        assert problem["retry_after"] >= 1
        assert running.translate(photo, size=64).status_code == 200
        connections.close()
        wait_until(lambda: held() == 0)
