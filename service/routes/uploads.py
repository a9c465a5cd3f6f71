"""The pictures in a request's body. Large ones are kept in temporary files."""

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

IN_MEMORY = 1024 * 1024  # bytes; larger pictures are written to a file
MAX_FIELDS = 1000
MAX_PREAMBLE = 8192  # bytes before a form's first boundary
FILE_TYPES = (b"image/", b"application/octet-stream")  # parts of these types are files even without a filename
UNENCODED = (b"binary", b"8bit", b"7bit", b"")  # transfer encodings that leave bytes unchanged


@asynccontextmanager
async def read_uploads(request: Request, settings: Settings, parameters: frozenset[str]) -> AsyncIterator[list[Upload]]:
    """Read the pictures, which exist until the context ends. `parameters` are names that no form field may have.

    Raises the problems 400, 408, 413, 415, 422 and 503 as soon as possible, without reading the rest of the body.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise problems.encoded(f"The body is compressed with {encoding}")
    with request.app.state.uploads.share() as share:
        body = stream_body(request, settings, share)
        if parse_options_header(request.headers.get("content-type"))[0] == b"multipart/form-data":
            pictures = await _Form(request, body, settings, parameters).read()
        else:
            pictures = [_Picture("picture")]
            async for chunk in body:
                await pictures[0].write(chunk)
            if pictures[0].empty:
                raise problems.no_picture()
            await pictures[0].seek(0)
        request.state.facts["bytes_in"] = share.held
        yield [picture.upload for picture in pictures]


class _Picture:
    """A picture that is being received: in memory, or from IN_MEMORY bytes on in a file without a name, which disappears with this object
    or with the process. If there is no temporary folder, or the disk is full, it stays in memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.empty = True
        self._sha256 = hashlib.sha256()
        self._buffer = bytearray()  # what is not in the file
        self._file: FileIO | None = None
        self._in_memory = sys.platform != "linux"  # codecs open the file through /proc

    async def write(self, data: bytes) -> None:
        self.empty = False
        self._sha256.update(data)
        self._buffer += data
        if len(self._buffer) >= IN_MEMORY and not self._in_memory:
            await asyncio.to_thread(self._spool)

    async def seek(self, start: int) -> None:
        """Finish writing. Starlette's parser rewinds each file when it is complete."""
        if self._file and not self._in_memory:
            await asyncio.to_thread(self._spool)

    def _spool(self) -> None:
        try:
            self._file = self._file or tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            del self._buffer[: self._file.write(self._buffer)]
        except OSError:
            self._in_memory = True

    @property
    def upload(self) -> Upload:
        source: bytes | Path
        if self._file and not self._buffer:
            source = Path(f"/proc/{os.getpid()}/fd/{self._file.fileno()}")
        else:
            source = (os.pread(self._file.fileno(), self._file.tell(), 0) if self._file else b"") + self._buffer
        return Upload(self.name or "picture", source, self._sha256.digest())


class _Form(MultiPartParser):
    """A parser for multipart/form-data (RFC 7578). Every part with a filename or a file's media type is a picture, whatever its name."""

    def __init__(self, request: Request, body: AsyncGenerator[bytes, None], settings: Settings, parameters: frozenset[str]) -> None:
        super().__init__(request.headers, body, max_fields=MAX_FIELDS, max_part_size=settings.max_upload_bytes)
        boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
        self.stream = _skip_preamble(body, b"--" + boundary)
        self._max_files, self._parameters = settings.max_files, parameters
        self._pictures: list[_Picture] = []
        self._started = self._complete = False

    async def read(self) -> list[_Picture]:
        """Return the form's pictures. Raises the problems 400, 413, 415 and 422."""
        try:
            form = await self.parse()
        except MultiPartException as error:
            reason = str(error.__cause__ or error.message)
            line_ends = "find CR at end of boundary" in reason
            raise problems.malformed_body("a boundary is not directly followed by CR and LF" if line_ends else reason) from None
        if not self._complete:
            raise problems.malformed_body("it ends before its last boundary" if self._started else "its boundary is nowhere in it")
        pictures = [picture for picture in self._pictures if picture.name or not picture.empty]  # browsers send empty file inputs, too
        if not pictures:
            raise problems.no_picture(_explain_no_file(form))
        return pictures

    def on_part_begin(self) -> None:
        self._started = True
        super().on_part_begin()

    def on_headers_finished(self) -> None:
        headers = dict(self._current_part.item_headers)
        disposition = headers.get(b"content-disposition", b"")
        field = parse_options_header(disposition)[1].get(b"name", b"").decode("utf-8", "replace")
        filename = _read_filename(disposition)
        if filename is None and not headers.get(b"content-type", b"").lower().startswith(FILE_TYPES):
            if field in self._parameters:
                raise problems.misplaced_parameter(field)
            super().on_headers_finished()
            return
        encoding = headers.get(b"content-transfer-encoding", b"").lower()
        if encoding not in UNENCODED:
            raise problems.encoded(f"The file {field} has the Content-Transfer-Encoding {encoding.decode('latin-1')}")
        if len(self._pictures) == self._max_files:
            raise problems.too_many_files(self._max_files)
        self._pictures.append(_Picture("picture" if filename is None else filename and _clean_stem(filename)))
        self._current_part.file = self._pictures[-1]  # type: ignore[assignment]  # the parser only needs write and seek

    def on_end(self) -> None:
        self._complete = True


async def _skip_preamble(body: AsyncGenerator[bytes, None], boundary: bytes) -> AsyncGenerator[bytes, None]:
    """Yield the body from its first boundary on. RFC 2046 allows text before it, but Starlette's parser does not."""
    preamble: bytes | None = b""
    async for chunk in body:
        if preamble is not None:
            preamble += chunk
            start = preamble.find(boundary)
            if start < 0:
                if len(preamble) > MAX_PREAMBLE:
                    break
                continue
            chunk, preamble = preamble[start:], None
        yield chunk


def _explain_no_file(form: FormData) -> str:
    field, text = next(((field, value) for field, value in form.multi_items() if isinstance(value, str)), ("", ""))
    if not field:
        return "The form contains no file"
    try:
        content = text.encode("latin-1")  # the parser decodes bytes that are not UTF-8 as Latin-1
    except UnicodeEncodeError:
        content = text.encode()
    try:
        picture_format = identify(content)
    except NotAPicture:
        kind, _ = describe_unsupported(content)
        return f"The form contains no file, and its field {field} is {kind}, {text[:40]!r} (curl needs an @ before the name of a file)"
    return f"The form contains no file: its field {field} is a {picture_format.upper()}, but has no filename, which files in a form need"


def _read_filename(disposition: bytes) -> str | None:
    """Return the part's `filename`, else its `filename*` (RFC 5987), else None."""
    plain = parse_options_header(disposition)[1].get(b"filename")
    if plain is not None:
        return plain.decode("utf-8", "replace")
    header = Message()
    header["Content-Disposition"] = disposition.decode("latin-1")
    return header.get_filename()


def _clean_stem(filename: str) -> str:
    r"""Return a name that is safe in headers and archives: `holiday` for `C:\pictures\holiday.jpg`."""
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    stem = name.rsplit(".", 1)[0] if "." in name[1:] else name
    return "".join(c for c in stem if c.isprintable() and c not in '"<>:|?*')[:100].strip(". ") or "picture"
