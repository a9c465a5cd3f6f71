"""From uploads to answers: header, admission, decoding, translation, encoding, by a deadline."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from models.padding import Pixels
from service.engine.catalog import Generator
from service.engine.engine import Engine
from service.settings import Settings

LONGEST_SIDE = {"jpeg": 65_535, "webp": 16_383, "avif": 65_535, "png": 2**31 - 1}
"""In pixels, that a file of the format can have."""
LARGE = 4096 * 4096
"""Pixels from which on no more than two pictures are decoded or encoded at once: each takes up to 1 GB."""
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

    async def start(self) -> None:
        """Start the codecs and open the bundles; warm-up goes on in the background. Raises BundleError where there is nothing
        to serve at all."""

    async def stop(self) -> None:
        """Answer what was let in, then end lanes and codecs."""

    def deadline(self) -> float:
        """Of a request whose last byte has just arrived, by time.monotonic()."""
        return time.monotonic() + self.settings.deadline_seconds

    def check(self, order: Order) -> None:
        """What can be told before a body is read. Raises NotReady, Draining, UnknownDirection, UnknownVersion and Busy."""

    async def translate(self, uploads: Sequence[Upload], order: Order, deadline: float) -> list[Answer | Exception]:
        """An answer for each upload in their order, or what was wrong with it: PictureError, or a ServiceError of its own.

        Raises what concerns the request as a whole, before anything is decoded: NotReady, Draining, UnknownDirection,
        UnknownVersion, Busy, TooMuch. Cancelled, its work is stopped at once.
        """
        raise NotImplementedError

    async def cycle(self, upload: Upload, order: Order, deadline: float) -> Answer:
        """There and back, F(G(x)). Raises PictureError and ServiceError."""
        raise NotImplementedError

    async def translate_pixels(self, generator: Generator, pictures: Sequence[Pixels], deadline: float) -> list[Pixels]:
        """Pictures that need no codec, (h, w, 3) each, through one of engine.generator(…)'s: all of them, or none.
        Raises ServiceError."""
        raise NotImplementedError
