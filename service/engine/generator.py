"""One version of a direction, ready to run."""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.padding import Pixels, padded_side
from models.processor import has_vnni
from service.costs import Rate
from service.engine.sessions import CPU, choose_precision, on_gpu, open_session


class Generator:
    """The sessions of a bundle. On GPUs, there is one for each. On a CPU, there is one with a single thread, since several runs side by
    side do more than threads that wait for each other at every layer, and one with all threads for a picture that is alone."""

    def __init__(self, bundle: Bundle, providers: list[str], threads: int, precision: str = "auto", devices: Sequence[int] = (0,)) -> None:
        """Raises one of ONNX Runtime's errors."""
        self.bundle = bundle
        self.rate = Rate(1, 0.001)  # of a lane's runs; `warm_up` measures it first, then the lanes keep it up to date
        gpu = on_gpu(providers)
        self.precision, self.why = choose_precision(bundle.version, precision, gpu, has_vnni())
        self._sessions = [open_session(self._path, providers, threads if gpu else 1, device) for device in (devices if gpu else [0])]
        if gpu and self.provider == CPU and precision == "auto":  # CUDA's libraries did not load
            self.precision, self.why = choose_precision(bundle.version, precision, False, has_vnni())
            gpu, providers, self._sessions = False, [CPU], [open_session(self._path, [CPU], 1)]
        self._wide = self._sessions[0] if gpu or threads == 1 else open_session(self._path, providers, threads)
        tiling = bundle.path("fp32", "tiles")
        self._tiling = [open_session(tiling, providers, 1, device) for device in (devices if gpu else [0])] if tiling else []

    @property
    def _path(self) -> Path:
        path = self.bundle.path(self.precision)
        assert path is not None
        return path

    @property
    def direction(self) -> str:
        return self.bundle.direction

    @property
    def version(self) -> int:
        return self.bundle.version.version

    @property
    def provider(self) -> str:
        return self._sessions[0].get_providers()[0]

    @property
    def model(self) -> str:
        """Name for responses and logs: `photo2monet/3/int8`."""
        return f"{self.direction}/{self.version}/{self.precision}"

    @property
    def has_tiling(self) -> bool:
        """Whether the bundle has a graph for tiles, which runs in fp32 with one thread."""
        return bool(self._tiling)

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width that a picture of this size is padded to."""
        version = self.bundle.version
        return padded_side(height, version.multiple, version.smallest_side), padded_side(width, version.multiple, version.smallest_side)

    def run(self, pictures: Sequence[Pixels], alone: bool = False, device: int = 0) -> NDArray[np.uint8]:
        """Translate pictures of one `padded` size, (h, w, 3) each, to (n, h, w, 3), and block until they are done. On a CPU, `alone` uses
        all threads. `device` is an index into the GPUs in use."""
        session = self._wide if alone else self._sessions[device % len(self._sessions)]
        (translations,) = session.run(None, {"pictures": np.stack(pictures) if len(pictures) > 1 else pictures[0][None]})
        return np.asarray(translations)

    def run_tiles(
        self, tiles: Sequence[Pixels], statistics: Sequence[NDArray[np.float32]], device: int = 0
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Translate tiles like `run`, each with its `statistics`, (s,). Returns translations and the statistics that were used, (n, s)."""
        session = self._tiling[device % len(self._tiling)]
        translations, used = session.run(None, {"pictures": np.stack(tiles), "statistics": np.stack(statistics)})
        return np.asarray(translations), np.asarray(used)

    @property
    def own_statistics(self) -> NDArray[np.float32]:
        """Statistics, (s,), that tell the graph for tiles to compute the picture's own."""
        return np.full(self._tiling[0].get_inputs()[1].shape[1], np.nan, np.float32)

    def warm_up(self, largest: int, at_once: int) -> None:
        """Translate an empty picture of the trained size on each device, then `at_once` pictures of `largest` pixels together, to measure
        the rate and to let the memory arena grow before serving."""
        small, large = self.bundle.version.trained_size, math.isqrt(largest)
        picture, larger = ([np.zeros((*self.padded(side, side), 3), np.uint8)] for side in (small, large))
        for device in range(len(self._sessions)):
            self.run(picture, device=device)
        self.run(picture, alone=True)
        started_at = time.monotonic()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(self.run, [larger] * at_once))
        self.rate = Rate(math.prod(self.padded(large, large)), time.monotonic() - started_at)
