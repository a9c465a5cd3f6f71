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

    def warm_up(self) -> tuple[int, float]:
        """Run twice on an empty picture of the trained size; its pixels, and the seconds that the second run took."""
        size = self.bundle.version.trained_size
        picture = np.zeros((1, size, size, 3), np.uint8)
        self.run(picture)
        begun = time.monotonic()
        self.run(picture)
        return size * size, time.monotonic() - begun


class Catalog:
    """The generators by direction. Empty until `load`."""

    def __init__(self) -> None:
        self.generators: dict[str, Generator] = {}

    @property
    def directions(self) -> list[str]:
        return sorted(self.generators)

    def load(self, models: Path, providers: tuple[str, ...], threads: int) -> None:
        """Every bundle in `models` that is sound; one that is not is logged by name. Raises BundleError where none is."""
        chosen, why = choose_providers(providers)
        for folder in list_bundles(models):
            try:
                bundle = load_bundle(folder)
                generator = Generator(bundle, _session(bundle, chosen, threads))
            except Exception as error:  # of ONNX Runtime's many, too
                log.error("bundle refused", bundle=folder.name, reason=str(error))
                continue
            self.generators[generator.direction] = generator
            METRICS.version.labels(generator.direction).set(bundle.version.version)
        if not self.generators:
            raise BundleError(f"no bundle in {models.resolve()} can be served: export one there, or set CYCLEGAN_MODELS")
        used = sorted({generator.provider for generator in self.generators.values()})
        log.info("directions loaded", directions=self.directions, provider=",".join(used), why=why)


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


def _session(bundle: Bundle, providers: list[str], threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(bundle.onnx, options, providers=[(provider, OPTIONS.get(provider, {})) for provider in providers])
