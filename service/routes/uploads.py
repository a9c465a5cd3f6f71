"""The pictures in a request's body; large ones in temporary files."""

import asyncio
import hashlib
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from email.message import Message
from io import FileIO
from pathlib import Path

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from pictures.errors import NotAPicture
from pictures.identify import describe_unsupported, identify
from service import problems
from service.pipeline import Upload
from service.routes.bodies import stream_body
from service.settings import Settings

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
    if encoding.lower() != "identity":
        raise problems.encoded(f"The body is compressed with {encoding}")
    with request.app.state.uploads.share() as share:
        body = stream_body(request, settings, share)
        if parse_options_header(request.headers.get("content-type"))[0] == b"multipart/form-data":
            parts = await _Form(request, body, settings, parameters).read()
        else:
            parts = [await _read_picture(body)]
        request.state.facts["bytes_in"] = share.held
        yield [part.upload for part in parts]


async def _read_picture(body: AsyncGenerator[bytes, None]) -> "_Part":
    """The body is one."""
    part = _Part("picture")
    async for chunk in body:
        await part.write(chunk)
    if part.empty:
        raise problems.no_picture()
    await part.seek(0)
    return part


class _Part:
    """One picture while it comes in: in memory, and from IN_MEMORY on in a file without a name, which ends with this, and with the
    process. Where there is no folder for one, or the disk is full, it stays in memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.empty = True
        self._sha256 = hashlib.sha256()
        self._recent = bytearray()
        self._file: FileIO | None = None
        self._in_memory = sys.platform != "linux"  # elsewhere a codec could not open it

    async def write(self, data: bytes) -> None:
        self.empty = False
        self._sha256.update(data)
        self._recent += data
        if len(self._recent) >= IN_MEMORY and not self._in_memory:
            await asyncio.to_thread(self._spool)

    async def seek(self, start: int) -> None:
        """To the `start`, once all is written."""
        if self._file and not self._in_memory:
            await asyncio.to_thread(self._spool)

    def _spool(self) -> None:
        try:
            self._file = self._file or tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            del self._recent[: self._file.write(self._recent)]
        except OSError:
            self._in_memory = True

    @property
    def upload(self) -> Upload:
        source: bytes | Path
        if self._file and not self._recent:
            source = Path(f"/proc/{os.getpid()}/fd/{self._file.fileno()}")
        else:
            spooled = os.pread(self._file.fileno(), self._file.tell(), 0) if self._file else b""
            source = spooled + self._recent
        return Upload(self.name or "picture", source, self._sha256.digest())


class _Form(MultiPartParser):
    """multipart/form-data (RFC 7578), in which every part with a filename, or of a file's type, is a picture, whatever its field is
    called."""

    def __init__(self, request: Request, body: AsyncGenerator[bytes, None], settings: Settings, parameters: frozenset[str]) -> None:
        super().__init__(request.headers, body, max_fields=MAX_FIELDS, max_part_size=settings.max_upload_bytes)
        boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
        self.stream = _from_first_boundary(body, b"--" + boundary)
        self._limit, self._parameters = settings.max_files, parameters
        self._pictures: list[_Part] = []
        self._begun = self._complete = False

    async def read(self) -> list[_Part]:
        """Raises the problems 400, 413, 415 and 422."""
        try:
            form = await self.parse()
        except MultiPartException as error:
            reason = str(error.__cause__ or error.message)
            line_ends = "find CR at end of boundary" in reason
            raise problems.malformed_body("CR and LF do not follow a boundary at once" if line_ends else reason) from None
        if not self._complete:
            raise problems.malformed_body("it ends before its last boundary" if self._begun else "its boundary is nowhere in it")
        sent = [part for part in self._pictures if part.name or not part.empty]  # without those that a page's user left empty
        if not sent:
            raise problems.no_picture(_why_none(form))
        return sent

    def on_part_begin(self) -> None:
        self._begun = True
        super().on_part_begin()

    def on_headers_finished(self) -> None:
        headers = dict(self._current_part.item_headers)
        disposition = headers.get(b"content-disposition", b"")
        field = parse_options_header(disposition)[1].get(b"name", b"").decode("utf-8", "replace")
        filename = _filename(disposition)
        if filename is None and not headers.get(b"content-type", b"").lower().startswith(FILE_TYPES):
            if field in self._parameters:
                raise problems.misplaced_parameter(field)
            super().on_headers_finished()
            return
        transfer = headers.get(b"content-transfer-encoding", b"").lower()
        if transfer not in PLAIN:
            raise problems.encoded(f"The file {field} is in {transfer.decode('latin-1')}, as its Content-Transfer-Encoding says")
        if len(self._pictures) == self._limit:
            raise problems.too_many_files(self._limit)
        self._pictures.append(_Part("picture" if filename is None else filename and _stem(filename)))
        self._current_part.file = self._pictures[-1]  # type: ignore[assignment]  # it is written and rewound as an UploadFile is

    def on_end(self) -> None:
        self._complete = True


async def _from_first_boundary(body: AsyncGenerator[bytes, None], first: bytes) -> AsyncGenerator[bytes, None]:
    """What stands before it is ignored (RFC 2046), which the parser does not know."""
    before: bytes | None = b""
    async for chunk in body:
        if before is not None:
            before += chunk
            start = before.find(first)
            if start < 0:
                if len(before) > MAX_PREAMBLE:
                    break
                continue
            chunk, before = before[start:], None
        yield chunk


def _why_none(form: FormData) -> str:
    field, text = next(((field, value) for field, value in form.multi_items() if isinstance(value, str)), ("", ""))
    if not field:
        return "The form holds no file"
    try:
        content = text.encode("latin-1")  # as which bytes that are no text were read
    except UnicodeEncodeError:
        content = text.encode()
    try:
        taken = identify(content)
    except NotAPicture:
        name, _ = describe_unsupported(content)
        return f"The form holds no file, and its field {field} is {name}, {text[:40]!r} (curl wants an @ before a file's name)"
    return f"The form holds no file: its field {field} is a {taken.upper()}, but has no filename, as files of a form have"


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
