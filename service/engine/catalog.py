"""Bundles to sessions: which directions there are, and what each runs on."""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import structlog
from numpy.typing import NDArray

from models.bundle import Bundle, BundleError, Precision, list_bundles, load_bundle
from models.padding import Pixels, padded_side
from service.engine.graphs import UNRECORDED
from service.engine.sessions import CUDA, Opened, choose_providers, new_session, open_session
from service.engine.staging import Staging
from service.telemetry import METRICS

log = structlog.get_logger()


@dataclass(frozen=True)
class Generator:
    """One direction's sessions."""

    bundle: Bundle
    opened: Opened
    tiling: onnxruntime.InferenceSession | None
    """For tiles, in fp32, each lane's; None where the bundle has no graph for them."""

    @property
    def direction(self) -> str:
        return self.bundle.direction

    @property
    def precision(self) -> Precision:
        return self.opened.precision

    @property
    def provider(self) -> str:
        return self.opened.session.get_providers()[0]

    def run(self, pictures: Sequence[Pixels], alone: bool = False, staging: Staging | None = None) -> NDArray[np.uint8]:
        """Pictures of one size, (h, w, 3) each, to (n, h, w, 3); h and w must be multiples of the bundle's `multiple`. Where they
        are `alone`, with all of a CPU's threads; to a GPU through `staging`, where they fit. Blocks."""
        session = self.opened.wide if alone and self.opened.wide else self.opened.session
        if staging and len(pictures) * math.prod(pictures[0].shape[:2]) <= staging.pixels:
            return staging.run(session, pictures, self.opened.graphs)
        given = np.stack(pictures) if len(pictures) > 1 else pictures[0][None]
        (translations,) = session.run(None, {"pictures": given}, UNRECORDED)
        return np.asarray(translations)

    def run_tiles(self, tiles: NDArray[np.uint8], statistics: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """As `run`, with each tile's `statistics`, (n, s), in and those that were used out. Blocks."""
        assert self.tiling is not None
        translations, used = self.tiling.run(None, {"pictures": tiles, "statistics": statistics})
        return np.asarray(translations), np.asarray(used)

    @property
    def own_statistics(self) -> "Statistics":
        """Asks for those of the picture itself; only where there is a graph for tiles."""
        assert self.tiling is not None
        return Statistics(self, np.full(self.tiling.get_inputs()[1].shape[1], np.nan, np.float32))

    def warm_up(self, largest: int, at_once: int) -> tuple[int, float]:
        """Run on an empty picture of the trained size; its pixels, and the seconds that a lane's second run took.

        Pictures of `largest` pixels, as many `at_once`, come first, lest the arena grow again while it serves.
        """
        version = self.bundle.version
        size, side = version.trained_size, padded_side(math.isqrt(largest), version.multiple, version.smallest_side)
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(self.run, [[np.zeros((side, side, 3), np.uint8)]] * at_once))
        picture = [np.zeros((size, size, 3), np.uint8)]
        self.run(picture, alone=True)
        self.run(picture)
        begun = time.monotonic()
        self.run(picture)
        return size * size, time.monotonic() - begun


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of a picture, in all of a generator's instance norms: what its tiles are translated with, by that very generator."""

    generator: Generator
    values: NDArray[np.float32]
    """(s,)."""


class Catalog:
    """The generators that are served, by direction."""

    def __init__(self, models: Path, providers: tuple[str, ...], threads: int, cuda_graphs: bool = False) -> None:
        self._models = models
        self.providers, self._why = choose_providers(providers)
        self._threads = threads
        self.records = cuda_graphs and self.providers[0] == CUDA
        """Whether sessions record CUDA graphs, for which each must be run by one thread only."""
        self.generators: dict[str, Generator] = {}

    @property
    def directions(self) -> list[str]:
        return sorted(self.generators)

    def open_new(self) -> list[Generator]:
        """Sessions of the bundles that are sound and not served yet. One that is not sound is logged by name, and
        leaves what is served of its direction in service. Raises BundleError where there is nothing to serve at all."""
        opened = []
        for folder in list_bundles(self._models):
            try:
                bundle = load_bundle(folder)
                if bundle.refused:
                    log.error("newer version refused", bundle=folder.name, reason="; ".join(bundle.refused))
                served = self.generators.get(bundle.direction)
                if served is None or served.bundle.version != bundle.version:
                    opened.append(_open(bundle, self.providers, self._threads, self.records))
            except Exception as error:  # of ONNX Runtime's many, too
                log.error("bundle refused", bundle=folder.name, reason=str(error))
        if not opened and not self.generators:
            raise BundleError(f"no bundle in {self._models.resolve()} can be served: export one there, or set CYCLEGAN_MODELS")
        for provider in {generator.provider for generator in opened}:
            directions = [generator.direction for generator in opened if generator.provider == provider]
            log.info("directions loaded", directions=directions, provider=provider, why=self._why)
        return opened

    def serve(self, generator: Generator) -> None:
        """In the place of what was served of its direction; what runs there ends undisturbed."""
        self.generators[generator.direction] = generator
        METRICS.version.labels(generator.direction).set(generator.bundle.version.version)


def _open(bundle: Bundle, providers: list[str], threads: int, records: bool) -> Generator:
    opened, tiling = open_session(bundle, providers, threads, records), bundle.path("fp32", "tiles")
    return Generator(bundle, opened, new_session(tiling, providers, 1) if tiling else None)
