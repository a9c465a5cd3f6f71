"""From uploads to answers: header, admission, decoding, translation, encoding, by a deadline."""

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

LARGE = 4096 * 4096
"""Pixels from which on no more than two pictures are in codecs at once: each takes up to 1 GB."""
BASE_MEMORY, BYTES_A_PIXEL = 2**30, 40
"""Address space of a codec: a decoder and what follows hold a picture several times, at up to 8 bytes a pixel."""
LEAST_LIMIT, PATIENCE = 5.0, 20
"""A codec's task may take so many seconds, or so many times what it should by the measured rates."""

T = TypeVar("T")


@dataclass(frozen=True)
class Upload:
    """One picture as it was sent."""

    name: str
    """The file's name, without folders and suffix."""
    source: bytes | Path
    """Small ones in memory, large ones in a file."""
    sha256: bytes


@dataclass(frozen=True)
class Answer:
    """A finished picture."""

    content: bytes
    format: str
    model: str
    """Direction, version and precision: `photo2monet/3/int8`."""
    seconds: dict[str, float]
    """What each stage took, waiting included: decode, queue, infer, encode."""
    cycle_error: float | None = None
    """Of a cycle: the mean absolute difference to the picture that was sent, 0 to 255."""


class Pipeline:
    """One a process. A request is let in whole or refused whole, before any of its pictures is decoded."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self._codecs = Codecs(settings.codecs, min(BASE_MEMORY + BYTES_A_PIXEL * settings.max_pixels, usable_memory()))
        self._admission = Admission(settings.codecs, engine.queue.lanes)
        self._estimates = Estimates(engine, self._admission, settings.deadline_seconds)
        self._whole, self._in_tiles = PixelBudget(settings.max_queue_pixels), PixelBudget(settings.max_pixels)
        self._large = asyncio.Semaphore(2)

    async def start(self) -> None:
        """Start the codecs and open the bundles; warm-up goes on in the background. Raises BundleError where there is nothing
        to serve at all."""
        await asyncio.to_thread(self._codecs.start)
        try:
            measured, _ = await self._codecs.run(codec_tasks.measure, limit=60)
            for kind, (pixels, seconds) in measured.items():
                self._estimates.rates.add(kind, pixels, seconds)
            await self.engine.start()
        except BaseException:
            self._codecs.stop()
            raise

    async def stop(self) -> None:
        """Answer what was let in, then end lanes and codecs."""
        await self.engine.stop()
        await asyncio.to_thread(self._codecs.stop)

    def deadline(self) -> float:
        """Of a request whose last byte has just arrived, by time.monotonic()."""
        return time.monotonic() + self.settings.deadline_seconds

    def check(self, direction: str) -> None:
        """What can be told before a body is read. Raises Busy."""
        self._admission.check(direction, self.settings.deadline_seconds)

    async def translate(
        self, uploads: Sequence[Upload], parameters: Parameters, generators: Sequence[Generator], deadline: float
    ) -> list[Answer | Exception]:
        """An answer for each upload in their order, or what was wrong with it: PictureError, or a Problem of its own.

        `parameters` are settled. Each picture goes through all of the `generators`, one after the other. Raises what concerns the
        request as a whole, before any picture is decoded: Busy, TooMuch, DeadlinePassed. Cancelled, its work is stopped at once.
        """

        async def answer(picture: _Work | Exception) -> Answer | Exception:
            return picture if isinstance(picture, Exception) else await _outcome(self._answer(picture, parameters, generators, deadline))

        direction = parameters.direction
        headers = [Work([Cost("codec", self._estimates.rates["header"], 0)]) for _ in uploads]
        with self._admission.admitted(direction, deadline - time.monotonic(), headers):
            async with _until(deadline):
                opened = await asyncio.gather(*(_outcome(self._open(upload, parameters, generators)) for upload in uploads))
        works = [each for each in opened if isinstance(each, _Work)]
        self._estimates.check(works, lambda: self._estimates.advice([work.header for work in works], parameters, generators))
        with self._admission.admitted(direction, deadline - time.monotonic(), works):
            return await asyncio.gather(*map(answer, opened))

    async def translate_pixels(self, generator: Generator, pictures: Sequence[Pixels], deadline: float) -> list[Pixels]:
        """Pictures that need no codec, (h, w, 3) each, through one of engine.generator(…)'s: all of them, or none.
        Raises Problem."""

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

    async def _open(self, upload: Upload, parameters: Parameters, generators: Sequence[Generator]) -> "_Work":
        """Raises PictureError and TooLarge."""
        begun = time.monotonic()
        header = await self._in_codec("header", 0, codec_tasks.read_header, upload.source, self.settings.max_pixels, first=True)
        for generator in generators:
            self._check_size(generator, *fitted(header.width, header.height, parameters.longest_side))
        check_size(*output_size(header, parameters), parameters.format_for(header.format))
        return _Work(self._estimates.steps(header, parameters, generators), upload, header, time.monotonic() - begun)

    async def _answer(self, work: "_Work", parameters: Parameters, generators: Sequence[Generator], deadline: float) -> Answer:
        """Raises PictureError and Problem."""
        begun, header, source, size = time.monotonic(), work.header, work.upload.source, parameters.longest_side
        width, height = fitted(header.width, header.height, size)
        async with _until(deadline), self._budget(generators[0], height, width):
            picture = await self._in_codec(
                decoding(header, size), header.width * header.height, codec_tasks.decode_upload, source, self.settings.max_pixels, size
            )
            self._admission.done(work)
            decoded, pixels, translations = time.monotonic(), picture.pixels, []
            for generator in generators:
                translations.append(await self.engine.translate(generator, pixels, deadline))
                self._admission.done(work)
                pixels = translations[-1].pixels
            translated = time.monotonic()
            file_format, enlarged = parameters.format_for(header.format), picture.original_size if parameters.output == "input" else None
            original = None
            if parameters.needs_original:
                original = source if enlarged not in (None, pixels.shape[1::-1]) else picture.pixels
            content = await self._in_codec(
                f"encode {file_format}", math.prod(output_size(header, parameters)), codec_tasks.finish_and_encode,
                pixels, original, enlarged, parameters.strength, parameters.keep_colors, file_format, parameters.quality, first=True,
            )  # fmt: skip
            error = None
            if len(generators) > 1:
                error = await self._in_codec("compare", pixels.size, codec_tasks.difference, picture.pixels, pixels)
        seconds = {
            "decode": work.opening + decoded - begun,
            "queue": sum(translation.queue_seconds for translation in translations),
            "infer": sum(translation.inference_seconds for translation in translations),
            "encode": time.monotonic() - translated,
        }
        return Answer(content, file_format, generators[0].model, seconds, error)

    async def _in_codec(self, kind: str, pixels: int, task: Callable[..., T], *arguments: Any, first: bool = False) -> T:
        """The result of `task`, of a `kind` and for so many `pixels`, from which follows how long it may take. Raises PictureError."""
        limit = max(LEAST_LIMIT, PATIENCE * self._estimates.rates[kind].seconds(pixels))
        try:
            async with self._large if pixels > LARGE else nullcontext():
                result, seconds = await self._codecs.run(task, *arguments, limit=limit, first=first)
        except (CodecDied, MemoryError) as error:
            reason = str(error) or "it needs too much memory"
            raise BrokenPicture(f"The picture cannot be decoded ({reason}): save it anew, or send a smaller one.") from error
        self._estimates.rates.add(kind, pixels, seconds)
        return result

    def _check_size(self, generator: Generator, height: int, width: int) -> None:
        """Raises TooLarge: a generator pads narrow pictures, and a bundle without a graph for tiles runs them whole."""
        pixels = math.prod(generator.padded(height, width))
        limit = self.settings.max_pixels if self.engine.is_large(generator, height, width) else self.settings.max_queue_pixels
        if pixels > limit:
            told = f"At this size {generator.direction} has to take in {pixels:,} pixels, more than this server's {limit:,}"
            raise TooLarge(f"{told}: ask for a smaller `size`, or send a smaller picture.", limit)

    def _budget(self, generator: Generator, height: int, width: int) -> AbstractAsyncContextManager[None]:
        """Small pictures do not wait for large ones."""
        budget = self._in_tiles if self.engine.is_large(generator, height, width) else self._whole
        return budget.hold(height * width)


@dataclass(eq=False)
class _Work(Work):
    """One picture on its way."""

    upload: Upload
    header: Header
    opening: float
    """Seconds that its header took."""


async def _outcome(work: Coroutine[Any, Any, T]) -> T | Exception:
    """One bad picture never spoils the others."""
    try:
        return await work
    except Exception as error:
        return error


@asynccontextmanager
async def _until(deadline: float) -> AsyncIterator[None]:
    """Cancels what is under way at `deadline`. Raises DeadlinePassed."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
    except TimeoutError as error:
        raise DeadlinePassed from error
