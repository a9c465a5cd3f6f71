"""Pictures to a GPU and back by I/O binding, through page-locked memory, which the device reads and writes by itself."""

import ctypes
import math
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import onnxruntime
import structlog
from numpy.typing import NDArray

from models.padding import Pixels
from service.engine.graphs import UNRECORDED, Graphs

log = structlog.get_logger()

CUDA_RUNTIMES = ("libcudart.so.13", "libcudart.so.12")


class Staging:
    """One lane's memory, for as many `pixels` as a batch may have, and for their translations."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self._halves = page_locked(2 * 3 * pixels).reshape(2, -1)

    def run(self, session: onnxruntime.InferenceSession, pictures: Sequence[Pixels], graphs: Graphs | None = None) -> NDArray[np.uint8]:
        """`pictures`, (h, w, 3) each and all of one size, through a session: (n, h, w, 3). Blocks.

        Where it has `graphs`, by one of them, or for the first time with a shape recording one.
        """
        shape = (len(pictures), *pictures[0].shape)
        given, made = (half[: math.prod(shape)].reshape(shape) for half in self._halves)
        np.stack(pictures, out=given)
        if graphs and (played := graphs.play(given)) is not None:
            return played
        binding = session.io_binding()
        binding.bind_input("pictures", "cpu", 0, np.uint8, shape, given.ctypes.data)
        binding.bind_output("translations", "cpu", 0, np.uint8, shape, made.ctypes.data)
        session.run_with_iobinding(binding, UNRECORDED)
        if graphs:
            graphs.record(given, made)
        return made.copy()  # the next batch is written over it


def page_locked(size: int) -> NDArray[np.uint8]:
    """So many bytes, which stay where they are in physical memory; where there is no CUDA to see to that, as they are."""
    memory = np.empty(size, np.uint8)
    for runtime in CUDA_RUNTIMES:
        with suppress(OSError):
            if ctypes.CDLL(runtime).cudaHostRegister(ctypes.c_void_p(memory.ctypes.data), ctypes.c_size_t(size), 0) == 0:
                return memory
    log.warning("memory is not page-locked: copies to the GPU are slower", bytes=size)
    return memory
