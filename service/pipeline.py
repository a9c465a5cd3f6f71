"""From uploads to answers: header, admission, decoding, translation, encoding, by a deadline."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from models.padding import Pixels
from pictures.decode import fitted
from pictures.encode import check_size
from pictures.errors import BrokenPicture
from service import codec_tasks
from service.admission import PUNCTUALITY, Admission, PixelBudget
from service.codec_tasks import Finish, Header
from service.codecs import CodecDied, Codecs
from service.costs import Rates, Work
from service.engine.engine import Engine
from service.engine.generator import Generator
from service.errors import DeadlinePassed, TooLarge, TooMuch
from service.settings import Settings

LARGE = 4096 * 4096
"""Pixels from which on no more than two pictures are in codecs at once: each takes up to 1 GB."""
BASE_MEMORY, BYTES_A_PIXEL = 2**30, 40
"""Address space of a codec: a decoder and what follows hold a picture several times, at up to 8 bytes a pixel."""
LEAST_LIMIT, PATIENCE = 5.0, 20
"""A codec's task may take so many seconds, or so many times what it should by the measured rates."""
SMALLER_SIZES = (2048, 1024, 512, 256, 128, 64)
"""What is tried to tell at what size a request could be done."""

T = TypeVar("T")


@dataclass(frozen=True)
class Upload:
    """One picture as it was sent."""

    name: str
    """The file's name, without folders and suffix."""
    source: bytes | Path
    """Small ones in memory, large ones in a file."""


@dataclass(frozen=True)
class Order:
    """What is to be done with each picture of a request."""

    direction: str
    size: int | None
    """Longest side in pixels that it is translated at; None: its own."""
    choose_format: Callable[[str], str]
    """From the upload's format to the answer's."""
    quality: int = 90
    output: Literal["size", "input"] = "size"
    strength: float = 1.0
    keep_colors: bool = False
    version: int | None = None
    """None: the newest, or the one that CYCLEGAN_TRAFFIC gives the request."""
    request_id: str = ""
    """By its hash CYCLEGAN_TRAFFIC shares requests out among versions."""


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
        self._codecs = Codecs(settings.codecs, BASE_MEMORY + BYTES_A_PIXEL * settings.max_pixels)
        self._rates = Rates()
        self._admission = Admission(settings.codecs, engine.queue.lanes)
        self._whole, self._in_tiles = PixelBudget(settings.max_queue_pixels), PixelBudget(settings.max_pixels)
        self._large = asyncio.Semaphore(2)

    async def start(self) -> None:
        """Start the codecs and open the bundles; warm-up goes on in the background. Raises BundleError where there is nothing
        to serve at all."""
        await asyncio.to_thread(self._codecs.start)
        try:
            measured, _ = await self._codecs.run(codec_tasks.measure, limit=60)
            for kind, (pixels, seconds) in measured.items():
                self._rates.add(kind, pixels, seconds)
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

    def check(self, order: Order) -> None:
        """What can be told before a body is read. Raises NotReady, Draining, UnknownDirection, UnknownVersion and Busy."""
        self.engine.generator(order.direction, order.version, order.request_id)
        self._admission.check(order.direction, self.settings.deadline_seconds)

    async def translate(self, uploads: Sequence[Upload], order: Order, deadline: float) -> list[Answer | Exception]:
        """An answer for each upload in their order, or what was wrong with it: PictureError, or a ServiceError of its own.

        Raises what concerns the request as a whole, before anything is decoded: NotReady, Draining, UnknownDirection,
        UnknownVersion, Busy, TooMuch, DeadlinePassed. Cancelled, its work is stopped at once.
        """
        return await self._answers([self.engine.generator(order.direction, order.version, order.request_id)], uploads, order, deadline)

    async def cycle(self, upload: Upload, order: Order, deadline: float) -> Answer:
        """There and back, F(G(x)). Raises PictureError and ServiceError."""
        there = self.engine.generator(order.direction, order.version, order.request_id)
        back = self.engine.generator(there.bundle.manifest.inverse, None, order.request_id)
        (answer,) = await self._answers([there, back], [upload], order, deadline)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def translate_pixels(self, generator: Generator, pictures: Sequence[Pixels], deadline: float) -> list[Pixels]:
        """Pictures that need no codec, (h, w, 3) each, through one of engine.generator(…)'s: all of them, or none.
        Raises ServiceError."""

        async def translate(picture: Pixels) -> Pixels:
            async with self._budget(generator, *picture.shape[:2]):
                return (await self.engine.translate(generator, picture, deadline)).pixels

        for picture in pictures:
            self._check_size(generator, *picture.shape[:2])
        works = [Work(0, self._inference_seconds(generator, *picture.shape[:2]), 0) for picture in pictures]
        self._check_time(works, [generator], lambda: "send fewer or smaller ones")
        async with _until(deadline):
            with self._admission.admitted(generator.direction, deadline - time.monotonic(), works):
                try:
                    async with asyncio.TaskGroup() as tasks:
                        translations = [tasks.create_task(translate(picture)) for picture in pictures]
                except ExceptionGroup as errors:
                    raise errors.exceptions[0] from None
        return [translation.result() for translation in translations]

    async def _answers(
        self, generators: list[Generator], uploads: Sequence[Upload], order: Order, deadline: float
    ) -> list[Answer | Exception]:
        self._admission.check(order.direction, deadline - time.monotonic())
        async with _until(deadline):
            checked = await asyncio.gather(*(_outcome(self._checked(upload, order, generators)) for upload in uploads))
        headers = [header for header in checked if isinstance(header, Header)]
        works = {header: self._work(header, order, generators) for header in headers}
        self._check_time(list(works.values()), generators, lambda: self._advice(headers, order, generators))

        async def answer(upload: Upload, header: Header | Exception) -> Answer | Exception:
            if isinstance(header, Exception):
                return header
            return await _outcome(self._answer(upload, header, order, generators, works[header], deadline))

        with self._admission.admitted(order.direction, deadline - time.monotonic(), list(works.values())):
            return await asyncio.gather(*map(answer, uploads, checked))

    async def _checked(self, upload: Upload, order: Order, generators: list[Generator]) -> Header:
        """Raises PictureError and TooLarge."""
        header = await self._in_codec("header", 0, codec_tasks.read_header, upload.source, self.settings.max_pixels, first=True)
        for generator in generators:
            self._check_size(generator, *fitted(header.width, header.height, order.size))
        check_size(*self._output_size(header, order), order.choose_format(header.format))
        return header

    async def _answer(
        self, upload: Upload, header: Header, order: Order, generators: list[Generator], work: Work, deadline: float
    ) -> Answer:
        """Raises PictureError and ServiceError."""
        begun, area = time.monotonic(), header.width * header.height
        async with _until(deadline), self._budget(generators[0], *fitted(header.width, header.height, order.size)):
            picture = await self._in_codec(
                _decoding(header, order), area, codec_tasks.decode_upload, upload.source, self.settings.max_pixels, order.size
            )
            work.decoding, decoded = 0, time.monotonic()
            pixels, translations = picture.pixels, []
            for generator in generators:
                translations.append(await self.engine.translate(generator, pixels, deadline))
                pixels = translations[-1].pixels
            work.inference, translated = 0, time.monotonic()
            finish = Finish(
                order.choose_format(picture.format), order.quality, picture.original_size if order.output == "input" else None,
                order.strength, order.keep_colors,
            )  # fmt: skip
            original = None
            if finish.needs_original:
                original = upload.source if finish.output_size not in (None, pixels.shape[1::-1]) else picture.pixels
            content = await self._in_codec(
                f"encode {finish.format}", math.prod(self._output_size(header, order)),
                codec_tasks.finish_and_encode, pixels, original, finish, first=True,
            )  # fmt: skip
            error = (
                await self._in_codec("compare", pixels.size, codec_tasks.difference, picture.pixels, pixels)
                if len(generators) > 1
                else None
            )
        seconds = {
            "decode": decoded - begun,
            "queue": sum(translation.queue_seconds for translation in translations),
            "infer": sum(translation.inference_seconds for translation in translations),
            "encode": time.monotonic() - translated,
        }
        return Answer(content, finish.format, generators[0].model, seconds, error)

    async def _in_codec(self, kind: str, pixels: int, task: Callable[..., T], *arguments: Any, first: bool = False) -> T:
        """The result of `task`, of a `kind` and for so many `pixels`, from which follows how long it may take. Raises PictureError."""
        limit = max(LEAST_LIMIT, PATIENCE * self._rates.seconds(kind, pixels))
        try:
            async with self._large if pixels > LARGE else nullcontext():
                result, seconds = await self._codecs.run(task, *arguments, limit=limit, first=first)
        except (CodecDied, MemoryError) as error:
            reason = str(error) or "it needs too much memory"
            raise BrokenPicture(f"The picture cannot be decoded ({reason}): save it anew, or send a smaller one.") from error
        self._rates.add(kind, pixels, seconds)
        return result

    def _work(self, header: Header, order: Order, generators: list[Generator]) -> Work:
        width, height = fitted(header.width, header.height, order.size)
        return Work(
            self._rates.seconds(_decoding(header, order), header.width * header.height),
            sum(self._inference_seconds(generator, height, width) for generator in generators),
            self._rates.seconds(f"encode {order.choose_format(header.format)}", math.prod(self._output_size(header, order))),
        )

    def _inference_seconds(self, generator: Generator, height: int, width: int) -> float:
        return generator.rate.seconds(self.engine.count_pixels(generator, height, width))

    def _check_size(self, generator: Generator, height: int, width: int) -> None:
        """Raises TooLarge: a generator pads narrow pictures, and a bundle without a graph for tiles runs them whole."""
        pixels = math.prod(generator.padded(height, width))
        limit = self.settings.max_pixels if self.engine.is_large(generator, height, width) else self.settings.max_queue_pixels
        if pixels > limit:
            told = f"At this size {generator.direction} has to take in {pixels:,} pixels, more than this server's {limit:,}"
            raise TooLarge(f"{told}: ask for a smaller `size`, or send a smaller picture.", limit)

    def _check_time(self, works: list[Work], generators: list[Generator], advice: Callable[[], str]) -> None:
        """Raises TooMuch."""
        needed, seconds = self._admission.seconds(works), self.settings.deadline_seconds
        if needed > seconds:
            what = "This picture" if len(works) == 1 else f"These {len(works)} pictures"
            told = f"{what} would take about {needed:.0f} s here, and {seconds:.0f} s are allowed: {advice()}."
            if self._admission.idle:  # nothing else would measure them anew
                self._rates.relax()
                for generator in generators:
                    generator.rate.relax()
            raise TooMuch(told)

    def _advice(self, headers: list[Header], order: Order, generators: list[Generator]) -> str:
        """How many at this size, and all at what size, could be done in time."""

        def fits(count: int, size: int | None) -> bool:
            works = [self._work(header, replace(order, size=size), generators) for header in headers[:count]]
            return self._admission.seconds(works) <= PUNCTUALITY * self.settings.deadline_seconds

        advice = []
        if fewer := next((count for count in range(len(headers) - 1, 0, -1) if fits(count, order.size)), 0):
            advice.append(f"send {fewer} at a time")
        if smaller := next((size for size in SMALLER_SIZES if size < (order.size or math.inf) and fits(len(headers), size)), 0):
            advice.append(f"ask for size={smaller}")
        return " or ".join(advice) or "send smaller pictures"

    def _budget(self, generator: Generator, height: int, width: int) -> AbstractAsyncContextManager[None]:
        """Small pictures do not wait for large ones."""
        budget = self._in_tiles if self.engine.is_large(generator, height, width) else self._whole
        return budget.hold(height * width)

    @staticmethod
    def _output_size(header: Header, order: Order) -> tuple[int, int]:
        return fitted(header.width, header.height, order.size if order.output == "size" else None)


def _decoding(header: Header, order: Order) -> str:
    """The kind of work: of a JPEG that is shrunk, a decoder leaves out a part."""
    shrunk = max(header.width, header.height) / (order.size or math.inf)
    return f"decode {header.format}" + (f" /{min(8, 2 ** int(math.log2(shrunk)))}" if header.format == "jpeg" and shrunk >= 2 else "")


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
