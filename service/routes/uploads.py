"""The pictures in a request's body; large ones in temporary files."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pictures.errors import NotAPicture
from pictures.identify import identify, what_else
from service import problems
from service.pipeline import Upload
from service.routes.bodies import stream_body
from service.settings import Settings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

IN_MEMORY = 1024 * 1024
"""Bytes of a picture from which on it goes into a file."""
MAX_FIELDS = 1000
MAX_PREAMBLE = 8192
"""Bytes before a form's first boundary."""
FILE_TYPES = (b"image/", b"application/octet-stream")
"""Of parts that are files even without a filename."""
PLAIN = (b"binary", b"8bit", b"7bit", b"")
"""Transfer encodings that leave bytes as they are."""


@asynccontextmanager
async def read_uploads(request: Request, settings: Settings, parameters: frozenset[str]) -> AsyncIterator[list[Upload]]:
    """The pictures, until the context ends. `parameters` are names that a form's fields must not have.

    Raises the problems 400, 408, 413, 415, 422 and 503, the moment that there is one.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise problems.encoded(f"The body is compressed with {encoding}")
    media_type, options = parse_options_header(request.headers.get("content-type"))
    with request.app.state.uploads.share() as share, contextlib.ExitStack() as parts:
        body = stream_body(request, settings, share)
        if media_type == b"multipart/form-data":
            form = _Form(options.get(b"boundary", b""), settings.max_files, parameters, parts)
            uploads = await form.read(body)
        else:
            uploads = [await _read_picture(body, parts)]
        request.state.facts["bytes_in"] = share.held
        yield uploads


async def _read_picture(body: AsyncGenerator[bytes, None], parts: contextlib.ExitStack) -> Upload:
    """The body is one."""
    part = parts.enter_context(_Part("picture"))
    async for chunk in body:
        part.write(chunk)
        await part.spool()
    if part.empty:
        raise problems.no_picture()
    return await part.finish()


class _Part:
    """One picture while it comes in: in memory, and from IN_MEMORY on in a file, where there is a folder for one. The file is
    removed at the end of the context."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.empty = True
        self._recent = bytearray()
        self._file: Path | None = None
        self._spooled = 0
        self._in_memory_only = False

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file:
            self._file.unlink(missing_ok=True)

    def write(self, data: bytes | memoryview) -> None:
        self._recent += data
        self.empty = self.empty and not data

    async def spool(self) -> None:
        if len(self._recent) >= IN_MEMORY:
            await self._append()

    async def finish(self) -> Upload:
        if self._file and self._recent:
            await self._append()
        if self._file is None:
            return Upload(self.name, bytes(self._recent))
        if not self._recent:
            return Upload(self.name, self._file)
        return Upload(self.name, self._file.read_bytes()[: self._spooled] + self._recent)  # the disk is full

    async def _append(self) -> None:
        if self._in_memory_only:
            return
        writing = asyncio.ensure_future(asyncio.to_thread(self._append_now))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await writing  # or a file would come to be after its removal
            raise

    def _append_now(self) -> None:
        try:
            if self._file is None:
                with tempfile.NamedTemporaryFile(prefix="cyclegan-upload-", delete=False) as new:
                    self._file = Path(new.name)
            with self._file.open("ab") as file:
                file.write(self._recent)
        except OSError:
            self._in_memory_only = True
        else:
            self._spooled += len(self._recent)
            self._recent = bytearray()


class _Form:
    """The pictures of multipart/form-data (RFC 7578): each part with a filename, or of a file's type, whatever its field is
    called."""

    def __init__(self, boundary: bytes, max_files: int, parameters: frozenset[str], parts: contextlib.ExitStack) -> None:
        """Raises the problem 400. `parts` removes their files."""
        if not boundary:
            raise problems.malformed_body("it has no boundary")
        self._max_files, self._parameters, self._parts = max_files, parameters, parts
        self._pictures: list[_Part] = []
        self._texts: list[tuple[str, bytearray]] = []
        self._open: _Part | None = None
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""
        self._begun = self._complete = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }
        self._first = b"--" + boundary
        self._parser = MultipartParser(boundary, callbacks)

    async def read(self, body: AsyncGenerator[bytes, None]) -> list[Upload]:
        """Raises the problems 400, 413, 415 and 422."""
        try:
            async for chunk in self._from_first_boundary(body):
                self._parser.write(chunk)
                if self._open:
                    await self._open.spool()
        except FormParserError as error:
            line_ends = "find CR at end of boundary" in str(error)
            raise problems.malformed_body("CR and LF do not follow a boundary at once" if line_ends else str(error)) from None
        if not self._complete:
            raise problems.malformed_body("it ends before its last boundary" if self._begun else "its boundary is nowhere in it")
        sent = [part for part in self._pictures if part.name or not part.empty]  # without those that a page's user left empty
        if not sent:
            raise problems.no_picture(self._why_none())
        return [await part.finish() for part in sent]

    async def _from_first_boundary(self, body: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        """What stands before it is ignored (RFC 2046), which the parser does not know."""
        before: bytes | None = b""
        async for chunk in body:
            if before is not None:
                before += chunk
                start = before.find(self._first)
                if start < 0:
                    if len(before) > MAX_PREAMBLE:
                        break
                    continue
                chunk, before = before[start:], None
            yield chunk

    def _why_none(self) -> str:
        if not self._texts:
            return "The form holds no file"
        field, text = self._texts[0]
        try:
            taken = identify(bytes(text))
        except NotAPicture:
            shown = text.decode("utf-8", "replace")
            name, _ = what_else(bytes(text))
            return f"The form holds no file, and its field {field} is {name}, {shown!r} (curl wants an @ before a file's name)"
        return f"The form holds no file: its field {field} is a {taken.upper()}, but has no filename, as files of a form have"

    def _on_part_begin(self) -> None:
        self._begun = True
        self._headers = {}
        self._open = None

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        field = parse_options_header(disposition)[1].get(b"name", b"").decode("utf-8", "replace")
        filename = _filename(disposition)
        if filename is None and not self._headers.get(b"content-type", b"").lower().startswith(FILE_TYPES):
            if field in self._parameters:
                raise problems.misplaced_parameter(field)
            if len(self._texts) == MAX_FIELDS:
                raise problems.malformed_body(f"it has more than {MAX_FIELDS} fields")
            self._texts.append((field, bytearray()))
            return
        transfer = self._headers.get(b"content-transfer-encoding", b"").lower()
        if transfer not in PLAIN:
            raise problems.encoded(f"The file {field} is in {transfer.decode('latin-1')}, as its Content-Transfer-Encoding says")
        if len(self._pictures) == self._max_files:
            raise problems.too_many_files(self._max_files)
        self._open = self._parts.enter_context(_Part("picture" if filename is None else filename and _stem(filename)))
        self._pictures.append(self._open)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._open:
            self._open.write(memoryview(data)[start:end])
        else:
            text = self._texts[-1][1]
            text += data[start : min(end, start + 40 - len(text))]

    def _on_end(self) -> None:
        self._complete = True


def _filename(disposition: bytes) -> str | None:
    """Without folders; where there is none in plain, that of RFC 5987's `filename*`."""
    plain = parse_options_header(disposition)[1].get(b"filename")
    if plain is not None:
        return plain.decode("utf-8", "replace")
    header = Message()
    header["Content-Disposition"] = disposition.decode("latin-1")
    return header.get_filename()


def _stem(filename: str) -> str:
    """`holiday` of `C:\\pictures\\holiday.jpg`: fit for a header and an archive."""
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    stem = name.rsplit(".", 1)[0] if "." in name[1:] else name
    return "".join(c for c in stem if c.isprintable() and c not in '"<>:|?*')[:100].strip(". ") or "picture"
