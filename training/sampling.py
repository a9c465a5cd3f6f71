"""A bundle over a folder of pictures, without a service."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from models import padding
from models.bundle import load_bundle
from training.data import list_pictures, read_picture


def sample_folder(model: Path, input_folder: Path, output_folder: Path, size: int) -> Iterator[Path]:
    """Translate every picture below `input_folder`, shrunk to a shorter side of `size` pixels, to PNG files that keep
    their place and name below `output_folder`; yields each as it is written. Broken files are named and skipped."""
    version = (bundle := load_bundle(model)).version
    session = onnxruntime.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    for path in list_pictures(input_folder):
        pixels = read_picture(path, size)
        if pixels is None:
            continue
        padded = padding.pad(pixels, version.multiple, version.smallest_side)
        (translations,) = session.run(None, {"pictures": padded[None]})
        output = output_folder / path.relative_to(input_folder).with_suffix(".png")
        output.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(padding.crop(np.asarray(translations)[0], *pixels.shape[:2])).save(output)
        yield output
