"""Runs of a session recorded as CUDA graphs, one for each shape of a batch: played back, all kernels of a run are launched at once.

A recording reads and writes the memory that it was made with, and ONNX Runtime plays it back only in the thread that made it. So
a session with recordings is one lane's alone, and each recording keeps memory of its own on the device.
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#using-cuda-graphs-preview
"""

import numpy as np
import onnxruntime
import structlog
from numpy.typing import NDArray

log = structlog.get_logger()

MOST = 64
"""Recordings of a session: where pictures come in more shapes than that, the later ones go without."""


def _numbered(number: int) -> onnxruntime.RunOptions:
    """Of a run that is recorded, or played back, under this number."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


UNRECORDED = _numbered(-1)
"""Of any other run: a session that can record would record it, with memory that is soon somebody else's."""


class Graphs:
    """A session's recordings."""

    def __init__(self, session: onnxruntime.InferenceSession, device: str = "cuda") -> None:
        self._session = session
        self._device = device
        self._recordings: dict[tuple[int, ...], _Recording | None] = {}

    def play(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """`pictures`, (n, h, w, 3), to as many translations; None where no run of this shape was recorded. Blocks."""
        recording = self._recordings.get(pictures.shape)
        return recording.play(pictures) if recording else None

    def record(self, pictures: NDArray[np.uint8], translations: NDArray[np.uint8]) -> None:
        """A run, for what has the shape of `pictures` from now on. It is kept only where it gives the `translations` of an
        ordinary run; a shape for which it does not is never tried again. Blocks."""
        shape = pictures.shape
        if shape in self._recordings or len(self._recordings) == MOST:
            return
        self._recordings[shape] = None
        try:
            recording = _Recording(self._session, _numbered(len(self._recordings)), pictures, self._device)
            difference = np.abs(recording.play(pictures).astype(np.int16) - translations).mean()
        except Exception as error:  # of ONNX Runtime's many
            log.warning("no CUDA graph", shape=shape, reason=str(error))
            return
        if difference < 1:
            self._recordings[shape] = recording
        else:
            log.warning("no CUDA graph", shape=shape, reason=f"it is {difference:.1f}/255 off in the mean")


class _Recording:
    def __init__(
        self, session: onnxruntime.InferenceSession, options: onnxruntime.RunOptions, pictures: NDArray[np.uint8], device: str
    ) -> None:
        self._session, self._options = session, options
        shape = pictures.shape
        self._given = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, device, 0)
        self._made = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, device, 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("pictures", self._given)
        self._binding.bind_ortvalue_output("translations", self._made)
        self._given.update_inplace(pictures)
        session.run_with_iobinding(self._binding, options)
        self._made.update_inplace(np.zeros_like(pictures))  # so that what is there afterwards is of the playback

    def play(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self._given.update_inplace(pictures)
        self._session.run_with_iobinding(self._binding, self._options)
        return np.array(self._made.numpy())  # a copy, since on a CPU this is the memory itself
