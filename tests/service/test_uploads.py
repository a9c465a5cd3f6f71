"""Forms: whatever is in them, and however they are cut up on their way, the pictures are those that were sent."""

import asyncio
import itertools
import re
from collections.abc import Sequence

import httpx
import pytest
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import UploadFile

from service.problems import Problem
from service.routes.uploads import read_uploads
from service.settings import Settings

BOUNDARY = "b-b"
PIECES = st.sampled_from([b"\r", b"\n", b"-", b"b", b"\r\n--b-", b"\r\n\r\n", b"\r\n--b-bb", b"\0\xff"])
CONTENTS = st.lists(PIECES, max_size=8).map(b"".join).filter(lambda content: not re.search(rb"\r\n--b-b(\r\n|--)", content + b"\r\n"))
"""Nearly delimiters, but none."""
NAMES = st.sampled_from(["photo.jpg", "über uns.png", 'a "quoted" name.webp', "C:\\pictures\\b.jpg"])
HEAD = b'Content-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'


def a_request(content: bytes, cuts: Sequence[int] = ()) -> Request:
    """Of a form that comes in pieces, cut at those places."""
    edges = [0, *sorted(cuts), len(content)]
    pieces = [content[start:end] for start, end in itertools.pairwise(edges)]
    messages = iter([{"type": "http.request", "body": piece, "more_body": True} for piece in pieces] + [{"type": "http.request"}])

    async def receive() -> dict:
        return next(messages)

    headers = [(b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}, receive)


def read(content: bytes, cuts: Sequence[int] = (), **limits: int) -> list[tuple[str, bytes]]:
    uploads = asyncio.run(read_uploads(a_request(content, cuts), Settings(**limits)))
    return [(upload.name, upload.content) for upload in uploads]


async def as_starlette_reads(content: bytes) -> list[bytes]:
    form = await a_request(content).form()
    return [await field.read() for _, field in form.multi_items() if isinstance(field, UploadFile)]


@settings(max_examples=300, deadline=None)
@given(files=st.lists(st.tuples(NAMES, CONTENTS), min_size=1, max_size=4), fields=st.integers(0, 2), data=st.data())
def test_pictures_arrive_as_they_were_sent(files: list[tuple[str, bytes]], fields: int, data: st.DataObject) -> None:
    parts = [(f"field-{number}", (None, b"value")) for number in range(fields)] + [("image", file) for file in files]
    form = httpx.Request("POST", "http://a", files=parts, headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}).read()
    cuts = data.draw(st.lists(st.integers(0, len(form)), max_size=6))
    expected = [content for _, content in files]
    assert asyncio.run(as_starlette_reads(form)) == expected
    assert [content for _, content in read(form, cuts)] == expected
    assert read(form, cuts) == read(form, range(len(form)))


def test_what_is_around_a_form_is_ignored() -> None:
    assert read(b"hello\r\n--b-b\r\n" + HEAD + b"picture\r\n--b-b--\r\ngoodbye\r\n--b-b\r\n") == [("a", b"picture")]


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (b"--b-b\r\n" + HEAD + b"picture", "ends before its last boundary"),
        (b"--b-b\r\n" + HEAD + b"picture\r\n--b-b", "ends before its last boundary"),
        (b"--b-b\r\npicture\r\n--b-b--", "no headers"),
        (b"--b-b\r\n--b-b--", "no headers"),
        (b"--b-b\r\npicture\r\n\r\npicture\r\n--b-b--", "no colon"),
        (b"--b-b\r\nX: " + b"x" * 9000 + b"\r\n" + HEAD + b"picture\r\n--b-b--", "more than 8192 bytes"),
        (b"--b-b" + b"\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n--b-b" * 1001 + b"--", "more than 1000 fields"),
    ],
)
def test_a_malformed_form_is_told_what_is_wrong(form: bytes, why: str) -> None:
    with pytest.raises(Problem, match=why) as refused:
        read(form)
    assert refused.value.status == 400


def test_the_rest_is_not_read_once_there_are_too_many_files() -> None:
    part = b"--b-b\r\n" + HEAD + b"picture\r\n"
    request = a_request(part * 9, cuts=[len(part) * number for number in range(1, 9)])
    with pytest.raises(Problem) as refused:
        asyncio.run(read_uploads(request, Settings(max_files=3)))
    assert refused.value.status == 413
    assert len(asyncio.run(read_rest(request))) == len(part) * 4


async def read_rest(request: Request) -> bytes:
    rest = b""
    while piece := (await request.receive()).get("body"):
        rest += piece
    return rest
