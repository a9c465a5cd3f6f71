"""What the contenders share, so that only the servers differ: what they are asked for, decode, session, encode."""

import io
import os
from typing import BinaryIO

import numpy as np
import onnxruntime
from PIL import Image

PORT = int(os.environ["PORT"])
DEADLINE = float(os.environ["DEADLINE"])
"""In seconds, for servers that have such a setting."""


def decode(file: BinaryIO) -> np.ndarray:
    """uint8 (h, w, 3)."""
    return np.asarray(Image.open(file).convert("RGB"))


def new_session() -> onnxruntime.InferenceSession:
    """As the service's: a thread for each CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    return onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, pictures: np.ndarray) -> np.ndarray:
    """uint8 (n, h, w, 3) to the same."""
    return session.run(None, {"pictures": pictures})[0]


def encode(pixels: np.ndarray) -> bytes:
    """JPEG of the service's default quality."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
