"""The engine as the routes see it: load it, ask it for translations, drain it."""

import asyncio
from dataclasses import dataclass

import structlog

from models import padding
from models.padding import Pixels
from service.engine.catalog import Catalog, Generator, Statistics
from service.engine.lanes import Lanes
from service.engine.queue import Draining, NotReady, Queue, Rate, UnknownDirection
from service.engine.sessions import count_lanes, longest_batch, on_gpu
from service.settings import Settings

log = structlog.get_logger()


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
        self.catalog = Catalog(settings.models, settings.providers, settings.intra_op_threads, settings.cuda_graphs)
        lanes = count_lanes(self.catalog.providers, settings.intra_op_threads, self.catalog.records)
        self.queue = Queue(settings.max_queue_pixels, settings.max_batch_pixels, lanes, longest_batch(self.catalog.providers))
        self._first = (settings.max_batch_pixels, 1) if on_gpu(self.catalog.providers) else (settings.default_size**2, lanes)
        """Pixels of a picture, and how many such at once, that memory is taken for before anything is served."""
        self._lanes = Lanes(self.queue, self.catalog)
        self._warm = False
        self._reloading = asyncio.Lock()
        self.draining = False
        """Set once the service is stopping: what is in is answered, and nothing more is let in."""

    @property
    def alive(self) -> bool:
        return self._lanes.alive

    async def open(self) -> list[Generator]:
        """Sessions of the bundles that are not served yet. Raises BundleError where there is nothing to serve at all."""
        return await asyncio.to_thread(self.catalog.open_new)

    async def serve(self, generators: list[Generator]) -> None:
        """Warm each up, measure its rate, and serve it from then on."""
        for generator in generators:
            try:
                rate = Rate(*await asyncio.to_thread(generator.warm_up, *self._first))
            except Exception as error:  # of ONNX Runtime's many
                log.error("bundle refused", bundle=generator.direction, reason=str(error))
                continue
            self.queue.rates[generator.direction] = rate
            self.catalog.serve(generator)
        if self.catalog.generators and not self._warm:
            self._lanes.start()
            self._warm = True

    async def reload(self) -> None:
        """Serve what is new, with no request lost; what does not load leaves the one before it in service."""
        async with self._reloading:
            await self.serve(await self.open())

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

    def check_room(self, direction: str, deadline: float) -> None:
        """What can be told before a body is read, and again before its pictures are decoded. Raises QueueFull."""
        self.queue.check_room(direction, deadline)

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
        return (await self._translate(self.generator(direction), pixels, deadline, None))[0]

    async def translate_tile(self, statistics: Statistics, pixels: Pixels, deadline: float) -> tuple[Translation, Statistics]:
        """As `translate`, of a tile with the statistics of its picture; and those that were used. It is never refused."""
        translation, used = await self._translate(statistics.generator, pixels, deadline, statistics)
        assert used is not None
        return translation, used

    async def _translate(
        self, generator: Generator, pixels: Pixels, deadline: float, statistics: Statistics | None
    ) -> tuple[Translation, Statistics | None]:
        version = generator.bundle.version
        padded = padding.pad(pixels, version.multiple, version.smallest_side)
        request = self.queue.submit(generator.direction, padded, deadline, statistics)
        cropped = padding.crop(await request.answer, *pixels.shape[:2])
        return Translation(cropped, request.started - request.arrived, request.finished - request.started), request.statistics

    async def stop(self) -> None:
        """Answer what was taken in, then end."""
        await self.queue.drained()
        await self._lanes.stop()
