"""The pictures in a request's body, read into memory up to the limits and no further."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service import problems
from service.settings import Settings


@dataclass(frozen=True)
class Upload:
    """One picture as it was sent."""

    name: str
    """The file's name, without folders and suffix; `picture` where none was sent."""
    content: bytes


async def read_uploads(request: Request, settings: Settings) -> list[Upload]:
    """Raises the problems 400 and 413, the latter before the rest is read."""
    limit = settings.max_upload_bytes
    media_type, options = parse_options_header(request.headers.get("content-type"))
    if media_type == b"multipart/form-data":
        uploads = await _read_form(options.get(b"boundary", b""), _limited(request, limit), settings.max_files)
    else:
        content = await read_body(request, limit)
        uploads = [Upload("picture", content)] if content else []
    if not uploads:
        raise problems.no_picture()
    return uploads


async def read_body(request: Request, limit: int) -> bytes:
    """Raises the problem 413 before more than `limit` bytes are read."""
    return b"".join([chunk async for chunk in _limited(request, limit)])


async def _read_form(boundary: bytes, body: AsyncGenerator[bytes, None], max_files: int) -> list[Upload]:
    if not boundary:
        raise problems.malformed_body("it has no boundary")
    form = _Form(max_files)
    try:
        parser = MultipartParser(boundary, form.callbacks)
        async for chunk in body:
            parser.write(chunk)
    except FormParserError as error:
        raise problems.malformed_body(str(error)) from None
    if not form.complete:
        raise problems.malformed_body("it ends before its last boundary")
    return form.uploads


class _Form:
    """The file parts of multipart/form-data, whatever their fields are called. All are kept in memory: starlette's own
    parser takes twice as long, with a file object for each."""

    MAX_FIELDS = 1000

    def __init__(self, max_files: int) -> None:
        self.uploads: list[Upload] = []
        self.complete = False
        self._max_files = max_files
        self._fields = 0
        self._name, self._value, self._disposition = b"", b"", b""
        self._filename: bytes | None = None
        self._chunks: list[bytes] = []

    @property
    def callbacks(self) -> Any:
        steps: list[Callable[..., None]] = [
            self.on_header_field, self.on_header_value, self.on_header_end, self.on_headers_finished,
            self.on_part_data, self.on_part_end, self.on_end,
        ]  # fmt: skip
        return {step.__name__: step for step in steps}

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._filename, self._disposition = options.get(b"filename"), b""
        if self._filename is None:
            self._fields += 1
        elif len(self.uploads) == self._max_files:
            raise problems.too_many_files(self._max_files)
        if self._fields > self.MAX_FIELDS:
            raise problems.malformed_body(f"it has more than {self.MAX_FIELDS} fields")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._filename is not None:
            self._chunks.append(data[start:end])

    def on_part_end(self) -> None:
        content = b"".join(self._chunks)
        self._chunks.clear()
        if self._filename or content:  # neither: a field, or a page's file input that was left empty
            self.uploads.append(Upload(_stem(self._filename), content))

    def on_end(self) -> None:
        self.complete = True


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    if int(request.headers.get("content-length", 0)) > limit:
        raise problems.upload_too_large(limit)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise problems.upload_too_large(limit)
        yield chunk


def _stem(filename: bytes | None) -> str:
    """`holiday` of `C:\\\\pictures\\\\holiday.jpg`: fit for a header and an archive."""
    name = (filename or b"").decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
    stem = name.rsplit(".", 1)[0] if "." in name[1:] else name
    return "".join(c for c in stem if c.isprintable() and c not in '"<>:|?*')[:100].strip(". ") or "picture"
