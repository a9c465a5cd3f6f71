"""A Python client of the service, sync and async.

    with Client("http://localhost:8000") as client:
        picture = client.translate(Path("photo.jpg"), "photo2monet", size=512)
        Path(picture.name).write_bytes(picture.content)

A request that the service has no room for (503, 429), or that a connection lost, is sent again: after as many seconds as Retry-After
asks for, and for `patience` seconds altogether. A translation may be repeated safely. What else goes wrong raises a ClientError.
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

from service.client_errors import (  # noqa: F401  # users import them from here
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

ANSWER_SECONDS = 120.0
"""That an answer may take; above any deadline of the service's own."""
LONGEST_PAUSE = 5.0
"""Between two tries, in seconds, where the service does not say how long to wait."""
LOST_TRIES = 5
"""How often a request is sent again whose connection was lost, or never came about: some 6 s in all."""

Source = bytes | Path


class Options(TypedDict, total=False):
    """How a picture is translated, as POST /translate takes it; what is left out is as the service has it."""

    size: int | Literal["original"]
    format: Literal["jpeg", "png", "webp", "avif"]
    quality: int
    output: Literal["size", "input"]
    strength: float
    keep_colors: bool
    version: int


@dataclass(frozen=True)
class TranslatedPicture:
    """A picture that came back."""

    content: bytes
    format: str
    """jpeg, png, webp or avif."""
    name: str
    """A file's name for it, like `photo.photo2monet.jpg`."""
    model: str | None = None
    """Direction, version and precision, like `photo2monet/3/int8`."""
    request_id: str | None = None
    """By which the service's log knows the request."""
    cycle_error: float | None = None
    """Of /cycle: the mean absolute difference to the picture that was sent, 0 to 255."""


_TRIED_AGAIN = (429, 502, 503)
_LOST = (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError)


class _Tries:
    """When a request is sent again."""

    def __init__(self, patience: float) -> None:
        self._end = time.monotonic() + patience
        self._count = 0

    def pause(self, error: Exception) -> float:
        """Seconds until the next try. Raises ClientError where there is none. A little is added by chance, lest all who were
        refused together come back together."""
        self._count += 1
        seconds = min(LONGEST_PAUSE, 0.1 * 2**self._count)
        if isinstance(error, ProblemError):
            again = error.status in _TRIED_AGAIN
            seconds = error.retry_after or seconds
        else:
            again = isinstance(error, _LOST) and self._count <= LOST_TRIES
        seconds *= random.uniform(1, 1.25)
        if again and time.monotonic() + seconds < self._end:
            return seconds
        if isinstance(error, ProblemError):
            raise error
        reason = str(error) or type(error).__name__
        raise ConnectionFailed(f"no answer from the service ({reason}): check its address, and that it runs") from error


def _settings(url: str, key: str | None) -> dict[str, Any]:
    return {
        "base_url": url,
        "headers": {"X-API-Key": key} if key else {},
        "timeout": httpx.Timeout(ANSWER_SECONDS, connect=5, pool=None),
        "limits": httpx.Limits(max_connections=None),
    }


def _request(path: str, source: Source, direction: str, options: Options) -> dict[str, Any]:
    """Raises OSError where the file cannot be read. By its digest caches know the picture."""
    picture = source.read_bytes() if isinstance(source, Path) else source
    digest = base64.b64encode(hashlib.sha256(picture).digest()).decode()
    return {
        "method": "POST",
        "url": path,
        "params": {"direction": direction} | {name: _parameter(value) for name, value in options.items() if value is not None},
        "content": picture,
        "headers": {"Content-Type": "application/octet-stream", "Content-Digest": f"sha-256=:{digest}:"},
    }


def _parameter(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _translated(response: httpx.Response, source: Source, direction: str) -> TranslatedPicture:
    headers = response.headers
    file_format = headers["content-type"].removeprefix("image/")
    disposition = Message()
    disposition["content-disposition"] = headers.get("content-disposition", "inline")
    sent = disposition.get_filename(f"picture.{direction}.{file_format}")
    error = headers.get("x-cycle-error")
    return TranslatedPicture(
        content=response.content,
        format=file_format,
        name=source.stem + sent.removeprefix("picture") if isinstance(source, Path) else sent,
        model=headers.get("x-model"),
        request_id=headers.get("x-request-id"),
        cycle_error=float(error) if error else None,
    )


class Client:
    """Sync. Threads may share it."""

    def __init__(self, url: str = "http://localhost:8000", key: str | None = None, patience: float = 60) -> None:
        self.patience = patience
        self._http = httpx.Client(**_settings(url, key))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._http.close()

    def directions(self) -> list[dict[str, Any]]:
        """As GET /directions has them. Raises ClientError."""
        directions: list[dict[str, Any]] = self._send(method="GET", url="/directions").json()
        return directions

    def translate(self, source: Source, direction: str, **options: Unpack[Options]) -> TranslatedPicture:
        """One picture. Raises ClientError, and OSError where its file cannot be read."""
        return _translated(self._send(**_request("/translate", source, direction, options)), source, direction)

    def cycle(self, source: Source, direction: str, **options: Unpack[Options]) -> TranslatedPicture:
        """One picture there and back. Raises as `translate`."""
        return _translated(self._send(**_request("/cycle", source, direction, options)), source, direction)

    def translate_many(
        self, sources: Iterable[Source], direction: str, in_flight: int = 4, **options: Unpack[Options]
    ) -> Iterator[TranslatedPicture | ClientError]:
        """Pictures in their order, `in_flight` at once, each with its translation or what was wrong with it. Raises OSError."""

        def outcome(source: Source) -> TranslatedPicture | ClientError:
            try:
                return self.translate(source, direction, **options)
            except ClientError as error:
                return error

        waiting: deque[Future[TranslatedPicture | ClientError]] = deque()
        pool = ThreadPoolExecutor(in_flight)
        try:
            for source in sources:
                waiting.append(pool.submit(outcome, source))
                if len(waiting) > in_flight:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _send(self, **request: Any) -> httpx.Response:
        tries = _Tries(self.patience)
        while True:
            try:
                return checked(self._http.request(**request))
            except (httpx.TransportError, ProblemError) as error:
                time.sleep(tries.pause(error))


class AsyncClient:
    """Async, and else the same."""

    def __init__(self, url: str = "http://localhost:8000", key: str | None = None, patience: float = 60) -> None:
        self.patience = patience
        self._http = httpx.AsyncClient(**_settings(url, key))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._http.aclose()

    async def directions(self) -> list[dict[str, Any]]:
        """As GET /directions has them. Raises ClientError."""
        directions: list[dict[str, Any]] = (await self._send(method="GET", url="/directions")).json()
        return directions

    async def translate(self, source: Source, direction: str, **options: Unpack[Options]) -> TranslatedPicture:
        """One picture. Raises ClientError, and OSError where its file cannot be read."""
        return _translated(await self._send(**_request("/translate", source, direction, options)), source, direction)

    async def cycle(self, source: Source, direction: str, **options: Unpack[Options]) -> TranslatedPicture:
        """One picture there and back. Raises as `translate`."""
        return _translated(await self._send(**_request("/cycle", source, direction, options)), source, direction)

    async def translate_many(
        self, sources: Iterable[Source], direction: str, in_flight: int = 4, **options: Unpack[Options]
    ) -> AsyncIterator[TranslatedPicture | ClientError]:
        """Pictures in their order, `in_flight` at once, each with its translation or what was wrong with it. Raises OSError."""

        async def outcome(source: Source) -> TranslatedPicture | ClientError:
            try:
                return await self.translate(source, direction, **options)
            except ClientError as error:
                return error

        waiting: deque[asyncio.Task[TranslatedPicture | ClientError]] = deque()
        try:
            for source in sources:
                waiting.append(asyncio.create_task(outcome(source)))
                if len(waiting) >= in_flight:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()

    async def _send(self, **request: Any) -> httpx.Response:
        tries = _Tries(self.patience)
        while True:
            try:
                return checked(await self._http.request(**request))
            except (httpx.TransportError, ProblemError) as error:
                await asyncio.sleep(tries.pause(error))
