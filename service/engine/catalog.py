"""Bundles to sessions: which directions there are, and what each runs on."""

import ctypes
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import structlog
from numpy.typing import NDArray

from models.bundle import Bundle, BundleError, list_bundles, load_bundle
from service.telemetry import METRICS

log = structlog.get_logger()

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
OPTIONS = {CUDA: {"cudnn_conv_algo_search": "HEURISTIC"}}
"""The default searches again at each new shape, for hundreds of milliseconds."""


@dataclass(frozen=True)
class Generator:
    """One direction's session."""

    bundle: Bundle
    session: onnxruntime.InferenceSession
    tiling: onnxruntime.InferenceSession | None
    """None where the bundle has no graph for tiles."""

    @property
    def direction(self) -> str:
        return self.bundle.direction

    @property
    def provider(self) -> str:
        return self.session.get_providers()[0]

    def run(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(n, h, w, 3) bytes to the same; h and w must be multiples of the bundle's `multiple`. Blocks."""
        (translations,) = self.session.run(None, {"pictures": pictures})
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

    def warm_up(self) -> tuple[int, float]:
        """Run twice on an empty picture of the trained size; its pixels, and the seconds that the second run took."""
        size = self.bundle.version.trained_size
        picture = np.zeros((1, size, size, 3), np.uint8)
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

    def __init__(self, models: Path, providers: tuple[str, ...], threads: int) -> None:
        self._models = models
        self.providers, self._why = choose_providers(providers)
        self._threads = threads
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
                    opened.append(self._open(bundle))
            except Exception as error:  # of ONNX Runtime's many, too
                log.error("bundle refused", bundle=folder.name, reason=str(error))
        if not opened and not self.generators:
            raise BundleError(f"no bundle in {self._models.resolve()} can be served: export one there, or set CYCLEGAN_MODELS")
        for provider in {generator.provider for generator in opened}:
            directions = [generator.direction for generator in opened if generator.provider == provider]
            log.info("directions loaded", directions=directions, provider=provider, why=self._why)
        return opened

    def _open(self, bundle: Bundle) -> Generator:
        tiling = _session(bundle.tiling, self.providers, self._threads) if bundle.tiling else None
        return Generator(bundle, _session(bundle.onnx, self.providers, self._threads), tiling)

    def serve(self, generator: Generator) -> None:
        """In the place of what was served of its direction; what runs there ends undisturbed."""
        self.generators[generator.direction] = generator
        METRICS.version.labels(generator.direction).set(generator.bundle.version.version)


def choose_providers(wanted: tuple[str, ...]) -> tuple[list[str], str]:
    """ONNX Runtime's providers to ask for, in order, and why."""
    if wanted != ("auto",):
        return list(wanted), "CYCLEGAN_PROVIDERS says so"
    if CUDA not in onnxruntime.get_available_providers():
        return [CPU], "this ONNX Runtime is built without CUDA"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [CPU], "this machine has no NVIDIA driver"
    onnxruntime.preload_dlls()
    return [CUDA, CPU], "this machine has an NVIDIA driver; CPU here means that CUDA's libraries did not load"


def _session(file: Path, providers: list[str], threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(file, options, providers=[(provider, OPTIONS.get(provider, {})) for provider in providers])
