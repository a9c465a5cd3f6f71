"""The pictures in a request's body, read into memory up to the limits and no further."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fastapi import Request
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service import problems
from service.settings import Settings


@dataclass(frozen=True)
class Upload:
    """One picture as it was sent."""

    name: str
    """The file's name, without folders and suffix; `picture` where none was sent."""
    content: bytes


class _Form(MultiPartParser):
    """Starlette's parser, in memory, and able to say why it gave up."""

    def __init__(self, request: Request, stream: AsyncGenerator[bytes, None], settings: Settings) -> None:
        super().__init__(request.headers, stream, max_files=settings.max_files, max_part_size=settings.max_upload_bytes)
        self.spool_max_size = settings.max_upload_bytes  # never on disk

    @property
    def has_too_many_files(self) -> bool:
        return self._current_files > self.max_files


async def read_uploads(request: Request, settings: Settings) -> list[Upload]:
    """Raises the problems 400 and 413, the latter before the rest is read."""
    limit = settings.max_upload_bytes
    if int(request.headers.get("content-length", 0)) > limit:
        raise problems.upload_too_large(limit)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        uploads = await _read_form(request, settings)
    else:
        content = b"".join([chunk async for chunk in _limited(request, limit)])
        uploads = [Upload("picture", content)] if content else []
    if not uploads:
        raise problems.no_picture()
    return uploads


async def _read_form(request: Request, settings: Settings) -> list[Upload]:
    form = _Form(request, _limited(request, settings.max_upload_bytes), settings)
    try:
        fields = await form.parse()
    except (MultiPartException, FormParserError) as error:
        if form.has_too_many_files:
            raise problems.too_many_files(settings.max_files) from None
        raise problems.malformed_body(str(error)) from None
    files = [value for _, value in fields.multi_items() if isinstance(value, UploadFile)]
    return [Upload(_stem(file.filename), await file.read()) for file in files if file.filename or file.size]


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise problems.upload_too_large(limit)
        yield chunk


def _stem(filename: str | None) -> str:
    """`holiday` of `C:\\\\pictures\\\\holiday.jpg`: fit for a header and an archive."""
    name = (filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    stem = name.rsplit(".", 1)[0] if "." in name[1:] else name
    return "".join(c for c in stem if c.isprintable() and c not in '"<>:|?*')[:100].strip(". ") or "picture"
