"""A Python client for the service, sync and async.

    with Client("http://localhost:8000") as client:
        picture = client.translate(Path("photo.jpg"), "photo2monet", size=512)
        Path(picture.name).write_bytes(picture.content)

The client repeats a request that the service is too busy for (429, 502, 503) or whose connection was lost. It waits as long as Retry-After
says, and stops after `patience` seconds in total. Repeating a translation is safe. All other errors raise a ClientError.
"""

import asyncio
import base64
import hashlib
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack

import httpx

from service.client_errors import (  # noqa: F401  # part of this module's public names
    AuthenticationError,
    BadRequestError,
    ClientError,
    ConnectionFailed,
    DeadlinePassedError,
    NotAPictureError,
    ProblemError,
    RateLimitError,
    ServiceUnavailableError,
    UnknownDirectionError,
    UnprocessableError,
    UploadTooLargeError,
    checked,
)

ANSWER_SECONDS = 120.0  # time limit for an answer, longer than the service's own deadline
MAX_PAUSE = 5.0  # seconds between two tries if the service does not say how long to wait
MAX_CONNECTION_RETRIES = 5  # after lost or failed connections: about 6 s in total
RETRY_STATUSES = (429, 502, 503)
CONNECTION_ERRORS = (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError)

Source = bytes | Path


class Options(TypedDict, total=False):
    """The parameters of POST /translate. The service has a default for each that is missing or None."""

    size: int | Literal["original"] | None
    format: Literal["jpeg", "png", "webp", "avif"] | None
    quality: int
    output: Literal["size", "input"]
    strength: float
    keep_colors: bool
    version: int | None


@dataclass(frozen=True)
class TranslatedPicture:
    """A translation."""

    content: bytes
    format: str  # jpeg, png, webp or avif
    name: str  # suggested file name, like `photo.photo2monet.jpg`
    model: str | None = None  # direction, version and precision, like `photo2monet/3/int8`
    request_id: str | None = None  # identifies the request in the service's log
    cycle_error: float | None = None  # of /cycle: the mean absolute difference to the upload, 0 to 255


class _Retries:
    """Decides when to repeat a request."""

    def __init__(self, patience: float) -> None:
        self._end = time.monotonic() + patience
        self._count = 0

    def pause(self, error: Exception) -> float:
        """Return the seconds until the next try, or raise ClientError if there is none. A random part spreads clients that were refused
        together."""
        self._count += 1
        seconds = min(MAX_PAUSE, 0.1 * 2**self._count)
        if isinstance(error, ProblemError):
            retry = error.status in RETRY_STATUSES
            seconds = error.retry_after or seconds
        else:
            retry = isinstance(error, CONNECTION_ERRORS) and self._count <= MAX_CONNECTION_RETRIES
        seconds *= random.uniform(1, 1.25)
        if retry and time.monotonic() + seconds < self._end:
            return seconds
        if isinstance(error, ProblemError):
            raise error
        reason = str(error) or type(error).__name__
        raise ConnectionFailed(f"no answer from the service ({reason}): check its address, and whether it is running") from error


def _settings(url: str, key: str | None) -> dict[str, Any]:
    return {
        "base_url": url,
        "headers": {"X-API-Key": key} if key else {},
        "timeout": httpx.Timeout(ANSWER_SECONDS, connect=5, pool=None),
        "limits": httpx.Limits(max_connections=None),
    }


def _request(path: str, source: Source, direction: str, options: Options) -> dict[str, Any]:
    """Return httpx's arguments for a request. Caches identify the picture by its digest. Raises OSError if the file cannot be read."""
    picture = source.read_bytes() if isinstance(source, Path) else source
    digest = base64.b64encode(hashlib.sha256(picture).digest()).decode()
    return {
        "method": "POST",
        "url": path,
        "params": {"direction": direction} | {name: value for name, value in options.items() if value is not None},
        "content": picture,
        "headers": {"Content-Type": "application/octet-stream", "Content-Digest": f"sha-256=:{digest}:"},
    }


def _read_picture(response: httpx.Response, source: Source, direction: str) -> TranslatedPicture:
    headers = response.headers
    file_format = headers["content-type"].removeprefix("image/")
    disposition = Message()
    disposition["content-disposition"] = headers.get("content-disposition", "inline")
    name = disposition.get_filename(f"picture.{direction}.{file_format}")
    error = headers.get("x-cycle-error")
    return TranslatedPicture(
        content=response.content,
        format=file_format,
        name=source.stem + name.removeprefix("picture") if isinstance(source, Path) else name,
        model=headers.get("x-model"),
        request_id=headers.get("x-request-id"),
        cycle_error=float(error) if error else None,
    )


class Client:
    """Sync client. Threads may share it."""

    def __init__(self, url: str = "http://localhost:8000", key: str | None = None, patience: float = 60) -> None:
        self.patience = patience
        self._http = httpx.Client(**_settings(url, key))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._http.close()

    def directions(self) -> list[dict[str, Any]]:
        """Return the list of GET /directions. Raises ClientError."""
        return self._send(method="GET", url="/directions").json()

    def translate(self, source: Source, direction: str, **options: Unpack[Options]) -> TranslatedPicture:
        """Translate one picture. Raises ClientError, and OSError if its file cannot be read."""
        return _read_picture(self._send(**_request("/translate", source, direction, options)), source, direction)

    def cycle(self, source: Source, direction: str, **options: Unpack[Options]) -> TranslatedPicture:
        """Translate one picture there and back. Raises the same errors as `translate`."""
        return _read_picture(self._send(**_request("/cycle", source, direction, options)), source, direction)

    def translate_many(
        self, sources: Iterable[Source], direction: str, in_flight: int = 4, **options: Unpack[Options]
    ) -> Iterator[TranslatedPicture | ClientError]:
        """Yield the translation of each picture, or its error, in order. `in_flight` are sent at once. Raises OSError."""

        def outcome(source: Source) -> TranslatedPicture | ClientError:
            try:
                return self.translate(source, direction, **options)
            except ClientError as error:
                return error

        pending: deque[Future[TranslatedPicture | ClientError]] = deque()
        pool = ThreadPoolExecutor(in_flight)
        try:
            for source in sources:
                pending.append(pool.submit(outcome, source))
                if len(pending) > in_flight:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _send(self, **request: Any) -> httpx.Response:
        retries = _Retries(self.patience)
        while True:
            try:
                return checked(self._http.request(**request))
            except (httpx.TransportError, ProblemError) as error:
                time.sleep(retries.pause(error))


class AsyncClient:
    """Async client with the same methods."""

    def __init__(self, url: str = "http://localhost:8000", key: str | None = None, patience: float = 60) -> None:
        self.patience = patience
        self._http = httpx.AsyncClient(**_settings(url, key))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._http.aclose()

    async def directions(self) -> list[dict[str, Any]]:
        """Return the list of GET /directions. Raises ClientError."""
        return (await self._send(method="GET", url="/directions")).json()

    async def translate(self, source: Source, direction: str, **options: Unpack[Options]) -> TranslatedPicture:
        """Translate one picture. Raises ClientError, and OSError if its file cannot be read."""
        return _read_picture(await self._send(**_request("/translate", source, direction, options)), source, direction)

    async def cycle(self, source: Source, direction: str, **options: Unpack[Options]) -> TranslatedPicture:
        """Translate one picture there and back. Raises the same errors as `translate`."""
        return _read_picture(await self._send(**_request("/cycle", source, direction, options)), source, direction)

    async def translate_many(
        self, sources: Iterable[Source], direction: str, in_flight: int = 4, **options: Unpack[Options]
    ) -> AsyncIterator[TranslatedPicture | ClientError]:
        """Yield the translation of each picture, or its error, in order. `in_flight` are sent at once. Raises OSError."""

        async def outcome(source: Source) -> TranslatedPicture | ClientError:
            try:
                return await self.translate(source, direction, **options)
            except ClientError as error:
                return error

        pending: deque[asyncio.Task[TranslatedPicture | ClientError]] = deque()
        try:
            for source in sources:
                pending.append(asyncio.create_task(outcome(source)))
                if len(pending) >= in_flight:
                    yield await pending.popleft()
            while pending:
                yield await pending.popleft()
        finally:
            for task in pending:
                task.cancel()

    async def _send(self, **request: Any) -> httpx.Response:
        retries = _Retries(self.patience)
        while True:
            try:
                return checked(await self._http.request(**request))
            except (httpx.TransportError, ProblemError) as error:
                await asyncio.sleep(retries.pause(error))
