"""The engine as the routes see it: load it, ask it for translations, drain it."""

import asyncio
from dataclasses import dataclass

from models import padding
from models.padding import Pixels
from service.engine.catalog import CUDA, Catalog, Generator, choose_providers
from service.engine.lanes import Lanes
from service.engine.queue import Draining, NotReady, Queue, Rate, UnknownDirection
from service.settings import Settings


@dataclass(frozen=True)
class Translation:
    """What became of a picture."""

    pixels: Pixels
    """(h, w, 3), the size of the input."""
    queue_seconds: float
    inference_seconds: float


class Engine:
    """Catalog, queue and lanes of one process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        lanes = 2 if CUDA in choose_providers(settings.providers)[0] else 1
        self.catalog = Catalog()
        self.queue = Queue(settings.max_queue_pixels, settings.max_batch_pixels, lanes)
        self._lanes = Lanes(self.queue, self.catalog)
        self._warm = False
        self.draining = False
        """Set once the service is stopping: what is in is answered, and nothing more is let in."""

    @property
    def alive(self) -> bool:
        return self._lanes.alive

    async def load(self) -> None:
        """Load every direction. Raises BundleError where there is nothing to serve."""
        settings = self._settings
        await asyncio.to_thread(self.catalog.load, settings.models, settings.providers, settings.intra_op_threads)

    async def warm_up(self) -> None:
        """Run every direction once and measure its rate; then start the lanes."""
        for direction, generator in self.catalog.generators.items():
            self.queue.rates[direction] = Rate(*await asyncio.to_thread(generator.warm_up))
        self._lanes.start()
        self._warm = True

    def check_ready(self) -> None:
        """Raises NotReady until every direction is loaded and warmed up, and Draining once the service is stopping."""
        if self.draining:
            raise Draining
        if not self._warm:
            raise NotReady

    def check_direction(self, direction: str) -> None:
        """What can be told before a body is read. Raises NotReady, Draining and UnknownDirection."""
        self.check_ready()
        self.generator(direction)

    def generator(self, direction: str) -> Generator:
        """Raises UnknownDirection."""
        if direction not in self.catalog.generators:
            raise UnknownDirection(direction, self.catalog.directions)
        return self.catalog.generators[direction]

    async def translate(self, direction: str, pixels: Pixels, deadline: float) -> Translation:
        """`pixels`, (h, w, 3), any h and w, through a direction's generator, by `deadline` (time.monotonic()).

        Cancelled, the request leaves the queue. Raises UnknownDirection, TooLarge, QueueFull, DeadlinePassed and
        InferenceFailed.
        """
        version = self.generator(direction).bundle.version
        request = self.queue.submit(direction, padding.pad(pixels, version.multiple, version.smallest_side), deadline)
        translated = await request.answer
        return Translation(
            padding.crop(translated, *pixels.shape[:2]),
            request.started - request.arrived,
            request.finished - request.started,
        )

    async def stop(self) -> None:
        """Answer what was taken in, then end."""
        await self.queue.drained()
        await self._lanes.stop()
