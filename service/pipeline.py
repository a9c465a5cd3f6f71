"""One picture through the rooms, by a deadline: bytes → pixels → queue → pixels → bytes."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np

from models.padding import Pixels
from pictures import finish
from pictures.decode import Opened, Picture, decode, open_picture
from pictures.encode import encode
from service.engine.engine import Engine, Translation
from service.engine.queue import DeadlinePassed
from service.engine.threads import Threads
from service.settings import Settings
from service.tiling import Tiler

LARGE = 4096 * 4096
"""Pixels from which on two pictures at once are decoded, finished or encoded, and no more: each takes up to 1 GB."""

T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """What is to be done with a picture."""

    direction: str
    size: int | None
    """Longest side in pixels that it is translated at; None: its own."""
    choose_format: Callable[[str], str]
    """From the upload's format to the answer's."""
    quality: int
    output: Literal["size", "input"]
    strength: float
    keep_colors: bool


@dataclass(frozen=True)
class Answer:
    """A finished picture."""

    content: bytes
    format: str
    seconds: dict[str, float]
    """What each stage took: decode, queue, infer, encode."""
    cycle_error: float | None = None
    """Of a cycle: the mean absolute difference to the picture that was sent, 0 to 255."""


class Pipeline:
    """One a process. Its codecs bound how many pictures are decoded or encoded at once, and of large ones no more than two."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self._codecs = Threads(settings.intra_op_threads, "codec")
        self._large_codecs = Threads(2, "large-codec")
        self._tiler = Tiler(settings, engine, self._codecs)

    def deadline(self) -> float:
        """Of a request whose last byte has just arrived."""
        return time.monotonic() + self.settings.deadline_seconds

    async def translate(self, upload: bytes, order: Order, deadline: float) -> Answer:
        """Raises PictureError, EngineError."""
        return await self._through([order.direction], upload, order, deadline)

    async def cycle(self, upload: bytes, order: Order, deadline: float) -> Answer:
        """There and back, F(G(x)). Raises PictureError, EngineError."""
        inverse = self.engine.generator(order.direction).bundle.manifest.inverse
        self.engine.generator(inverse)
        return await self._through([order.direction, inverse], upload, order, deadline)

    async def translate_pixels(self, direction: str, pixels: Pixels, deadline: float) -> Translation:
        """A picture that needs no codec, (h, w, 3). Raises EngineError."""
        async with _by(deadline):
            return await self._tiler.translate(direction, pixels, deadline)

    async def _through(self, directions: list[str], upload: bytes, order: Order, deadline: float) -> Answer:
        async with _by(deadline):
            picture, decode_seconds = await self._decoded(upload, order.size)
            pixels, translations = picture.pixels, []
            for direction in directions:
                translations.append(await self._tiler.translate(direction, pixels, deadline))
                pixels = translations[-1].pixels
            file_format = order.choose_format(picture.format)
            area = math.prod(picture.original_size if order.output == "input" else pixels.shape[:2])
            content, encode_seconds = await self._timed(partial(_encoded, upload, picture, pixels, order, file_format), area)
            error, _ = await self._timed(partial(_difference, picture.pixels, pixels), area) if len(directions) > 1 else (None, 0)
        seconds = {
            "decode": decode_seconds,
            "queue": sum(translation.queue_seconds for translation in translations),
            "infer": sum(translation.inference_seconds for translation in translations),
            "encode": encode_seconds,
        }
        return Answer(content, file_format, seconds, error)

    async def _decoded(self, upload: bytes, size: int | None) -> tuple[Picture, float]:
        """At once where it is not large, which its header tells."""
        opened, seconds = await self._timed(partial(_open, upload, size, self.settings.max_pixels), 0)
        if isinstance(opened, Picture):
            return opened, seconds
        picture, more_seconds = await self._timed(partial(decode, opened, size), LARGE + 1)
        return picture, seconds + more_seconds

    async def _timed(self, function: Callable[[], T], area: int) -> tuple[T, float]:
        """`function` in a codec, for a picture of `area` pixels, and how long it took there and waiting for it."""
        codecs = self._large_codecs if area > LARGE else self._codecs
        begun = time.monotonic()
        result = await codecs.run(function)
        return result, time.monotonic() - begun


def _open(upload: bytes, size: int | None, max_pixels: int) -> Picture | Opened:
    opened = open_picture(upload, max_pixels)
    return opened if opened.width * opened.height > LARGE else decode(opened, size)


def _encoded(upload: bytes, picture: Picture, pixels: Pixels, order: Order, file_format: str) -> bytes:
    original = picture.pixels
    if order.output == "input":
        pixels = finish.enlarge(pixels, picture.original_size)
        if (order.keep_colors or order.strength < 1) and original.shape != pixels.shape:
            again = open_picture(upload, math.prod(picture.original_size))
            original = decode(again, None).pixels  # with the detail that was shrunk away
    if order.keep_colors:
        pixels = finish.with_colors_of(original, pixels)
    return encode(finish.blend(original, pixels, order.strength), file_format, order.quality)


def _difference(a: Pixels, b: Pixels) -> float:
    return float((np.maximum(a, b) - np.minimum(a, b)).mean())


@asynccontextmanager
async def _by(deadline: float) -> AsyncIterator[None]:
    """Cancels what is under way at `deadline`. Raises DeadlinePassed."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
    except TimeoutError as error:
        raise DeadlinePassed from error
