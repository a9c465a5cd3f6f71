"""The engine, as the rest of the service uses it: start it, translate pictures with it, stop it."""

import asyncio
import math

import structlog

from models import padding
from models.bundle import BundleError
from models.padding import Pixels
from service.costs import FLOOR
from service.engine.catalog import Catalog, read_traffic
from service.engine.generator import Generator
from service.engine.lanes import Lanes
from service.engine.queue import Queue, Translation
from service.engine.sessions import CPU_BATCH_SECONDS, count_lanes, on_gpu
from service.engine.tiler import count_tile_pixels, translate_in_tiles
from service.errors import NotReady
from service.machine import free_memory
from service.settings import Settings

log = structlog.get_logger()


class Engine:
    """Catalog, queue and lanes of one process."""

    def __init__(self, settings: Settings) -> None:
        """Raises ValueError for an invalid CYCLEGAN_TRAFFIC."""
        threads, devices = settings.intra_op_threads, settings.devices
        traffic = read_traffic(settings.traffic)
        self.catalog = Catalog(settings.models, settings.providers, threads, settings.precision, devices, traffic)
        gpu = on_gpu(self.catalog.providers)
        lanes = count_lanes(self.catalog.providers, threads, len(devices))
        self.queue = Queue(settings.max_batch_pixels, lanes, math.inf if gpu else CPU_BATCH_SECONDS)
        # Pixels of a picture, and how many such pictures at once, to allocate memory for before serving.
        self._warm_up_load = (settings.max_batch_pixels, 1) if gpu else (settings.default_size**2, lanes)
        self._lanes = Lanes(self.queue, len(devices) if gpu else 1)
        self._not_ready: str | None = "The models are being loaded: send the request again shortly."
        self._changing = asyncio.Lock()

    @property
    def alive(self) -> bool:
        """False once a lane has died, which ends all work."""
        return self._lanes.alive

    def generator(self, direction: str, version: int | None = None, request_id: str = "") -> Generator:
        """Return the generator for a request. Raises NotReady, UnknownDirection and UnknownVersion."""
        self.check_ready()
        return self.catalog.choose(direction, version, request_id)

    def check_ready(self) -> None:
        """Raise NotReady until every direction is loaded and warmed up."""
        if self._not_ready:
            raise NotReady(self._not_ready)

    async def start(self, only: str | None = None) -> None:
        """Open all bundles, or `only` one; warm-up continues in the background. Raises BundleError if there is nothing to serve."""
        await self._changing.acquire()
        try:
            opened = await asyncio.to_thread(self.catalog.open_new, only)
        except BaseException:
            self._changing.release()
            raise
        self._warming = asyncio.create_task(self._warm_up(opened))
        self._warming.add_done_callback(lambda _: self._changing.release())

    async def started(self) -> bool:
        """Wait for the warm-up that `start` began, and return whether there is any generator to serve."""
        await asyncio.wait([self._warming])
        return bool(self.catalog.generators)

    async def reload(self) -> None:
        """Serve new versions and drop deleted ones without losing a request. Versions that fail to load change nothing."""
        async with self._changing:
            try:
                await self._warm_up(await asyncio.to_thread(self.catalog.open_new))
            except BundleError as error:
                log.error("not reloaded", reason=str(error))
            await asyncio.to_thread(self.catalog.drop_deleted)
            await asyncio.to_thread(free_memory)

    async def load(self, name: str) -> None:
        """Load the new versions of one bundle. Raises UnknownDirection if it does not exist, and BundleError if it cannot be loaded."""
        async with self._changing:
            self.catalog.refused.pop(name, None)
            await self._warm_up(await asyncio.to_thread(self.catalog.open_new, name))
            if name in self.catalog.refused:
                raise BundleError(self.catalog.refused[name])
            self.catalog.choose(name)

    async def unload(self, name: str) -> None:
        """Stop serving a direction until `load` is called for it. Raises UnknownDirection."""
        async with self._changing:
            self.catalog.unload(name)
            await asyncio.to_thread(free_memory)

    async def _warm_up(self, opened: list[Generator]) -> None:
        """Measure the rate of each generator, and serve it from then on."""
        failures = []
        for generator in opened:
            try:
                await asyncio.to_thread(generator.warm_up, *self._warm_up_load)
                self.catalog.serve(generator)
            except Exception as error:  # ONNX Runtime raises many types
                failures.append(f"{generator.model}: {error}")
                self.catalog.refuse(generator.direction, str(error))
        if self.catalog.generators:
            self._not_ready = None
            self._lanes.start()
        elif failures:
            self._not_ready = f"No model could be run, so there is nothing to serve ({'; '.join(failures)}): the operator must fix this."

    def count_pixels(self, generator: Generator, height: int, width: int) -> int:
        """Return how many pixels the lanes process for a picture of this size."""
        padded = generator.padded(height, width)
        if self.is_large(generator, height, width):
            return self.queue.max_batch_pixels + count_tile_pixels(generator, *padded)
        return max(math.prod(padded), FLOOR)

    def is_large(self, generator: Generator, height: int, width: int) -> bool:
        """Return whether a picture of this size is translated in tiles. Without a graph for tiles, all pictures run whole."""
        return generator.has_tiling and math.prod(generator.padded(height, width)) > self.queue.max_batch_pixels

    async def translate(self, generator: Generator, pixels: Pixels, deadline: float) -> Translation:
        """Translate `pixels`, (h, w, 3) of any size, before `deadline` (a time.monotonic() value). Cancel it to leave the queue.
        Raises DeadlinePassed and InferenceFailed."""
        height, width = pixels.shape[:2]
        if self.is_large(generator, height, width):
            return await translate_in_tiles(self.queue, generator, pixels, deadline)
        version = generator.bundle.version
        job = self.queue.submit(generator, padding.pad(pixels, version.multiple, version.smallest_side), deadline)
        translated = padding.crop(await job.answer, height, width)
        return Translation(translated, job.started - job.arrived, job.finished - job.started)

    async def stop(self) -> None:
        """Finish all submitted jobs, then stop the lanes."""
        await self.queue.drained()
        await self._lanes.stop()
