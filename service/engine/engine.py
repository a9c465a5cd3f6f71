"""The engine as the rest of the service sees it: load it, ask it for translations, drain it."""

import asyncio

import structlog

from models import padding
from models.bundle import BundleError
from models.padding import Pixels
from service.engine.catalog import Catalog, read_traffic
from service.engine.generator import Generator
from service.engine.lanes import Lanes
from service.engine.queue import Queue, Translation
from service.engine.sessions import count_lanes, longest_batch, on_gpu
from service.engine.tiler import count_pixels, is_large, translate_in_tiles
from service.errors import NotReady
from service.machine import give_back_memory
from service.settings import Settings

log = structlog.get_logger()


class Engine:
    """Catalog, queue and lanes of one process."""

    def __init__(self, settings: Settings) -> None:
        """Raises ValueError where CYCLEGAN_TRAFFIC cannot be read."""
        threads, devices = settings.intra_op_threads, settings.devices
        traffic = read_traffic(settings.traffic)
        self._catalog = Catalog(settings.models, settings.providers, threads, settings.precision, devices, traffic)
        gpu = on_gpu(self._catalog.providers)
        lanes = count_lanes(self._catalog.providers, threads, len(devices))
        self.queue = Queue(settings.max_batch_pixels, lanes, longest_batch(self._catalog.providers))
        self._first = (settings.max_batch_pixels, 1) if gpu else (settings.default_size**2, lanes)
        """Pixels of a picture, and how many such at once, that memory is taken for before anything is served."""
        self._lanes = Lanes(self.queue, len(devices) if gpu else 1)
        self._not_ready: str | None = "The models are being loaded: send the request again shortly."
        self._changing = asyncio.Lock()

    @property
    def alive(self) -> bool:
        """False once it can do no work any more."""
        return self._lanes.alive

    @property
    def generators(self) -> list[Generator]:
        """All that are served, by direction, the newest version first."""
        return self._catalog.generators

    def generator(self, direction: str, version: int | None = None, request_id: str = "") -> Generator:
        """The one for a request. Raises NotReady, UnknownDirection and UnknownVersion."""
        self.check_ready()
        return self._catalog.choose(direction, version, request_id)

    def check_ready(self) -> None:
        """Raises NotReady until every direction is loaded and warmed up."""
        if self._not_ready:
            raise NotReady(self._not_ready)

    async def start(self) -> None:
        """Open what there is; warm-up goes on in the background. Raises BundleError where there is nothing to serve at all."""
        await self._changing.acquire()
        try:
            opened = await asyncio.to_thread(self._catalog.open_new)
        except BaseException:
            self._changing.release()
            raise
        self._starting = asyncio.create_task(self._warm_up(opened))
        self._starting.add_done_callback(lambda _: self._changing.release())

    async def started(self) -> bool:
        """Once what was opened by `start` is warmed up: whether any of it can be served."""
        await asyncio.wait([self._starting])
        return bool(self.generators)

    async def reload(self) -> None:
        """Serve what is new and drop what was deleted, with no request lost; what does not load leaves what was served before."""
        async with self._changing:
            try:
                await self._warm_up(await asyncio.to_thread(self._catalog.open_new))
            except BundleError as error:
                log.error("not reloaded", reason=str(error))
            await asyncio.to_thread(self._catalog.drop_deleted)
            await asyncio.to_thread(give_back_memory)

    async def load(self, name: str) -> None:
        """One bundle, as `reload` does. Raises UnknownDirection where there is none, and BundleError where it does not load."""
        async with self._changing:
            self._catalog.refused.pop(name, None)
            await self._warm_up(await asyncio.to_thread(self._catalog.open_new, name))
            if name in self._catalog.refused:
                raise BundleError(self._catalog.refused[name])
            self._catalog.choose(name)

    async def unload(self, name: str) -> None:
        """All versions of a direction, until `load` is asked for it. Raises UnknownDirection."""
        async with self._changing:
            self._catalog.unload(name)
            await asyncio.to_thread(give_back_memory)

    def index(self) -> list[dict[str, str]]:
        """Of every model: name, version, state (READY or UNAVAILABLE) and reason."""
        return self._catalog.index()

    async def _warm_up(self, opened: list[Generator]) -> None:
        """Measure the rate of each, and serve it from then on."""
        failed = []
        for generator in opened:
            try:
                await asyncio.to_thread(generator.warm_up, *self._first)
                self._catalog.serve(generator)
            except Exception as error:  # of ONNX Runtime's many
                failed.append(f"{generator.model}: {error}")
                self._catalog.refuse(generator.direction, str(error))
        if self.generators:
            self._not_ready = None
            self._lanes.start()
        elif failed:
            self._not_ready = f"No model could be run, so there is nothing to serve ({'; '.join(failed)}): its operator must act."

    def count_pixels(self, generator: Generator, height: int, width: int) -> int:
        """What the lanes will have to run for a picture of this size, in pixels."""
        return count_pixels(generator, height, width, self.queue.max_batch_pixels)

    def is_large(self, generator: Generator, height: int, width: int) -> bool:
        """Whether a picture of this size is translated in tiles."""
        return is_large(generator, height, width, self.queue.max_batch_pixels)

    async def translate(self, generator: Generator, pixels: Pixels, deadline: float) -> Translation:
        """`pixels`, (h, w, 3), any h and w, by `deadline` (time.monotonic()).

        Cancelled, it leaves the queue. Raises DeadlinePassed and InferenceFailed.
        """
        height, width = pixels.shape[:2]
        if self.is_large(generator, height, width):
            return await translate_in_tiles(self.queue, generator, pixels, deadline)
        version = generator.bundle.version
        job = self.queue.submit(generator, padding.pad(pixels, version.multiple, version.smallest_side), deadline)
        translated = padding.crop(await job.answer, height, width)
        return Translation(translated, job.started - job.arrived, job.finished - job.started)

    async def stop(self) -> None:
        """Answer what was taken in, then end."""
        await self.queue.drained()
        await self._lanes.stop()
