"""The pictures in a request's body, read into memory up to the limits and no further."""

from collections.abc import AsyncGenerator

from fastapi import Request
from python_multipart.multipart import parse_options_header

from service import problems
from service.pipeline import Upload
from service.settings import Settings


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
    form = _Form(boundary, max_files)
    async for chunk in body:
        form.write(chunk)
    if not form.complete:
        raise problems.malformed_body("it ends before its last boundary")
    return form.uploads


class _Form:
    """The file parts of multipart/form-data (RFC 7578), whatever their fields are called, while it comes in. Of python-multipart
    only the reading of headers: its parser, in Python too, takes four times as long, and everyone's requests wait for it."""

    MAX_FIELDS = 1000
    LONGEST_HEAD = 8192
    """In bytes: the headers of a part."""

    def __init__(self, boundary: bytes, max_files: int) -> None:
        self.uploads: list[Upload] = []
        self.complete = False
        self._max_files = max_files
        self._fields = 0
        self._delimiter = b"\r\n--" + boundary
        self._unread = bytearray(b"\r\n")  # the first delimiter may have no line before it
        self._searched = 0
        self._in_part = False

    def write(self, chunk: bytes) -> None:
        """Raises the problems 400 and 413. What follows the last boundary is ignored."""
        self._unread += chunk
        while not self.complete:
            end = self._unread.find(self._delimiter, self._searched)
            after = end + len(self._delimiter)
            if end < 0 or after + 2 > len(self._unread):
                self._searched = end if end >= 0 else max(0, len(self._unread) - len(self._delimiter) + 1)
                return
            follows = self._unread[after : after + 2]
            if follows not in (b"\r\n", b"--"):  # a line that only begins like a delimiter
                self._searched = after
                continue
            if self._in_part:
                self._add(end)
            self._in_part, self.complete = True, follows == b"--"
            del self._unread[:after]
            self._searched = 0

    def _add(self, end: int) -> None:
        """The part before `end`: a blank line ends its headers."""
        blank = self._unread.find(b"\r\n\r\n", 0, min(end, self.LONGEST_HEAD))
        if blank < 0:
            raise problems.malformed_body(f"a part has no headers, or more than {self.LONGEST_HEAD} bytes of them")
        filename = _filename(bytes(self._unread[:blank]))
        if filename is None:
            self._fields += 1
            if self._fields > self.MAX_FIELDS:
                raise problems.malformed_body(f"it has more than {self.MAX_FIELDS} fields")
            return
        with memoryview(self._unread) as unread:  # which is copied once, not twice
            content = bytes(unread[blank + 4 : end])
        if not filename and not content:  # a page's file input that was left empty
            return
        if len(self.uploads) == self._max_files:
            raise problems.too_many_files(self._max_files)
        self.uploads.append(Upload(_stem(filename), content))


def _filename(head: bytes) -> bytes | None:
    """Of a part with these headers; None where it is no file. Raises the problem 400."""
    filename = None
    for header in head.split(b"\r\n")[1:]:  # the first follows the delimiter on its line
        name, colon, value = header.partition(b":")
        if not colon:
            raise problems.malformed_body("a part has a header with no colon")
        if name.lower() == b"content-disposition":
            filename = parse_options_header(value)[1].get(b"filename")
    return filename


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    if int(request.headers.get("content-length", 0)) > limit:
        raise problems.upload_too_large(limit)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise problems.upload_too_large(limit)
        if chunk:  # the last is empty
            yield chunk


def _stem(filename: bytes) -> str:
    """`holiday` of `C:\\\\pictures\\\\holiday.jpg`: fit for a header and an archive."""
    name = filename.decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
    stem = name.rsplit(".", 1)[0] if "." in name[1:] else name
    return "".join(c for c in stem if c.isprintable() and c not in '"<>:|?*')[:100].strip(". ") or "picture"
