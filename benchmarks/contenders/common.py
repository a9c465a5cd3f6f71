"""What the contenders share, so that only the servers differ: decoding, session and encoding. Each has a worker per CPU, with a session
of one thread."""

import io
import os
from typing import BinaryIO

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

PORT = int(os.environ["PORT"])
SIZE = 512
CPUS = len(os.sched_getaffinity(0))
DEADLINE = float(os.environ["DEADLINE"])
"""The deadline in seconds, for servers that have such a setting."""


def decode(file: BinaryIO) -> np.ndarray:
    """Decode to uint8 (h, w, 3), with the longest side at most SIZE. JPEGs are decoded at a reduced scale."""
    image = Image.open(file)
    image.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def new_session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, pictures: np.ndarray) -> np.ndarray:
    """Translate uint8 (n, h, w, 3)."""
    return session.run(None, {"pictures": pictures})[0]


def encode(pixels: np.ndarray) -> bytes:
    """Encode as JPEG, with the service's default quality."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
