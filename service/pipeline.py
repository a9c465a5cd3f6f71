"""The way from uploads to answers, before a deadline: header, admission, decoding, translation, encoding."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from models.padding import Pixels
from pictures.decode import fitted
from pictures.encode import check_size
from pictures.errors import BrokenPicture
from service import codec_tasks
from service.admission import Admission, PixelBudget
from service.codec_tasks import Header
from service.codecs import CodecDied, Codecs
from service.costs import Cost, Work
from service.engine.engine import Engine
from service.engine.generator import Generator
from service.errors import DeadlinePassed, TooLarge
from service.estimates import Estimates, decoding, output_size
from service.machine import usable_memory
from service.parameters import Parameters
from service.settings import Settings

LARGE = 4096 * 4096  # pixels; at most two larger pictures are in codecs at once, since each takes up to 1 GB
# The address space of a codec: a decoder and the steps after it hold a picture several times, at up to 8 bytes a pixel.
BASE_MEMORY, BYTES_PER_PIXEL = 2**30, 40
# A codec's task may take this many seconds, or this many times its predicted time.
MIN_TIME_LIMIT, TIME_LIMIT_FACTOR = 5.0, 20

T = TypeVar("T")


@dataclass(frozen=True)
class Upload:
    """One picture as the client sent it."""

    name: str  # of the file, without folders and suffix
    source: bytes | Path  # in memory, or in a file if it is large
    sha256: bytes


@dataclass(frozen=True)
class Answer:
    """A finished picture."""

    content: bytes
    format: str
    model: str  # direction, version and precision, like `photo2monet/3/int8`
    seconds: dict[str, float]  # time of each stage, including waiting: decode, queue, infer, encode
    cycle_error: float | None = None  # of a cycle: the mean absolute difference to the upload, 0 to 255


class Pipeline:
    """The pipeline of one process. It admits or refuses a request as a whole, before it decodes any of its pictures."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self._codecs = Codecs(settings.codecs, min(BASE_MEMORY + BYTES_PER_PIXEL * settings.max_pixels, usable_memory()))
        self._admission = Admission(settings.codecs, engine.queue.lanes)
        self._estimates = Estimates(engine, self._admission, settings.deadline_seconds)
        self._whole, self._in_tiles = PixelBudget(settings.max_queue_pixels), PixelBudget(settings.max_pixels)
        self._large = asyncio.Semaphore(2)

    async def start(self, only: str | None = None) -> None:
        """Start the codecs, and the engine as `Engine.start` does. Raises BundleError if there is nothing to serve."""
        await asyncio.to_thread(self._codecs.start)
        try:
            measured, _ = await self._codecs.run(codec_tasks.measure, limit=60)
            for kind, (pixels, seconds) in measured.items():
                self._estimates.rates.add(kind, pixels, seconds)
            await self.engine.start(only)
        except BaseException:
            self._codecs.stop()
            raise

    async def stop(self) -> None:
        """Answer all admitted requests, then stop lanes and codecs."""
        await self.engine.stop()
        await asyncio.to_thread(self._codecs.stop)

    def deadline(self) -> float:
        """Return the deadline of a request that has just been read completely, as a time.monotonic() value."""
        return time.monotonic() + self.settings.deadline_seconds

    def check(self, direction: str) -> None:
        """Raise Busy if a request can be refused before its body is read."""
        self._admission.check(direction, self.settings.deadline_seconds)

    async def translate(
        self, uploads: Sequence[Upload], parameters: Parameters, generators: Sequence[Generator], deadline: float
    ) -> list[Answer | Exception]:
        """Return an answer for each upload, in order, or the PictureError or Problem of that upload.

        `parameters` must be resolved. Each picture goes through all `generators`, one after the other. Raises Busy, TooMuch and
        DeadlinePassed for the request as a whole, before any picture is decoded. Cancelling stops all work at once.
        """

        async def answer(picture: _PictureWork | Exception) -> Answer | Exception:
            return picture if isinstance(picture, Exception) else await _outcome(self._answer(picture, parameters, generators, deadline))

        direction = parameters.direction
        headers = [Work([Cost("codec", self._estimates.rates["header"], 0)]) for _ in uploads]
        with self._admission.admitted(direction, deadline - time.monotonic(), headers):
            async with _until(deadline):
                opened = await asyncio.gather(*(_outcome(self._open(upload, parameters, generators)) for upload in uploads))
        works = [each for each in opened if isinstance(each, _PictureWork)]
        self._estimates.check(works, lambda: self._estimates.advice([work.header for work in works], parameters, generators))
        with self._admission.admitted(direction, deadline - time.monotonic(), works):
            return await asyncio.gather(*map(answer, opened))

    async def translate_pixels(self, generator: Generator, pictures: Sequence[Pixels], deadline: float) -> list[Pixels]:
        """Translate decoded pictures, (h, w, 3) each: all of them, or none. Raises Problem."""

        async def translate(picture: Pixels) -> Pixels:
            async with self._budget(generator, *picture.shape[:2]):
                return (await self.engine.translate(generator, picture, deadline)).pixels

        for picture in pictures:
            self._check_size(generator, *picture.shape[:2])
        works = [Work([self._estimates.inference(generator, *picture.shape[:2])]) for picture in pictures]
        self._estimates.check(works, lambda: "send fewer or smaller ones")
        async with _until(deadline):
            with self._admission.admitted(generator.direction, deadline - time.monotonic(), works):
                try:
                    async with asyncio.TaskGroup() as tasks:
                        translations = [tasks.create_task(translate(picture)) for picture in pictures]
                except ExceptionGroup as errors:
                    raise errors.exceptions[0] from None
        return [translation.result() for translation in translations]

    async def _open(self, upload: Upload, parameters: Parameters, generators: Sequence[Generator]) -> "_PictureWork":
        """Read an upload's header and estimate its work. Raises PictureError and TooLarge."""
        started_at = time.monotonic()
        header = await self._run_codec("header", 0, codec_tasks.read_header, upload.source, self.settings.max_pixels, first=True)
        for generator in generators:
            self._check_size(generator, *fitted(header.width, header.height, parameters.longest_side))
        check_size(*output_size(header, parameters), parameters.format_for(header.format))
        return _PictureWork(self._estimates.steps(header, parameters, generators), upload, header, time.monotonic() - started_at)

    async def _answer(self, work: "_PictureWork", parameters: Parameters, generators: Sequence[Generator], deadline: float) -> Answer:
        """Decode, translate and encode one picture. Raises PictureError and Problem."""
        started_at, header, source, size = time.monotonic(), work.header, work.upload.source, parameters.longest_side
        width, height = fitted(header.width, header.height, size)
        async with _until(deadline), self._budget(generators[0], height, width):
            picture = await self._run_codec(
                decoding(header, size), header.width * header.height, codec_tasks.decode_upload, source, self.settings.max_pixels, size
            )
            self._admission.done(work)
            decoded_at, pixels, translations = time.monotonic(), picture.pixels, []
            for generator in generators:
                translations.append(await self.engine.translate(generator, pixels, deadline))
                self._admission.done(work)
                pixels = translations[-1].pixels
            translated_at = time.monotonic()
            file_format, enlarged = parameters.format_for(header.format), picture.original_size if parameters.output == "input" else None
            original = None
            if parameters.keep_colors or parameters.strength < 1:
                original = source if enlarged not in (None, pixels.shape[1::-1]) else picture.pixels
            content = await self._run_codec(
                f"encode {file_format}", math.prod(output_size(header, parameters)), codec_tasks.finish_and_encode,
                pixels, original, enlarged, parameters.strength, parameters.keep_colors, file_format, parameters.quality, first=True,
            )  # fmt: skip
            error = None
            if len(generators) > 1:
                error = await self._run_codec("compare", pixels.size, codec_tasks.difference, picture.pixels, pixels)
        seconds = {
            "decode": work.opening_seconds + decoded_at - started_at,
            "queue": sum(translation.queue_seconds for translation in translations),
            "infer": sum(translation.inference_seconds for translation in translations),
            "encode": time.monotonic() - translated_at,
        }
        return Answer(content, file_format, generators[0].model, seconds, error)

    async def _run_codec(self, kind: str, pixels: int, task: Callable[..., T], *arguments: Any, first: bool = False) -> T:
        """Return the result of `task` in a codec. Its `kind` and `pixels` determine the time limit. Raises PictureError."""
        limit = max(MIN_TIME_LIMIT, TIME_LIMIT_FACTOR * self._estimates.rates[kind].seconds(pixels))
        try:
            async with self._large if pixels > LARGE else nullcontext():
                result, seconds = await self._codecs.run(task, *arguments, limit=limit, first=first)
        except (CodecDied, MemoryError) as error:
            reason = str(error) or "it needs too much memory"
            raise BrokenPicture(f"The picture cannot be decoded ({reason}): save it again, or send a smaller one.") from error
        self._estimates.rates.add(kind, pixels, seconds)
        return result

    def _check_size(self, generator: Generator, height: int, width: int) -> None:
        """Raise TooLarge for too many pixels after padding. A bundle without a graph for tiles has a lower limit."""
        pixels = math.prod(generator.padded(height, width))
        limit = self.settings.max_pixels if self.engine.is_large(generator, height, width) else self.settings.max_queue_pixels
        if pixels > limit:
            detail = f"At this size, {generator.direction} must process {pixels:,} pixels, more than this server's limit of {limit:,}"
            raise TooLarge(f"{detail}: ask for a smaller `size`, or send a smaller picture.", limit)

    def _budget(self, generator: Generator, height: int, width: int) -> AbstractAsyncContextManager[None]:
        """Hold the pixels of a picture. Large pictures have a separate budget, so that small ones do not wait for them."""
        budget = self._in_tiles if self.engine.is_large(generator, height, width) else self._whole
        return budget.hold(height * width)


@dataclass(eq=False)
class _PictureWork(Work):
    """The work on one upload."""

    upload: Upload
    header: Header
    opening_seconds: float


async def _outcome(work: Coroutine[Any, Any, T]) -> T | Exception:
    """Return the result or the exception, so that one bad picture does not stop the others."""
    try:
        return await work
    except Exception as error:
        return error


@asynccontextmanager
async def _until(deadline: float) -> AsyncIterator[None]:
    """Cancel the work in this context at `deadline`, and raise DeadlinePassed."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
    except TimeoutError as error:
        raise DeadlinePassed from error
