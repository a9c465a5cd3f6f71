"""Generators as functions of bytes: of a bundle or of a run; and a bundle over a folder of pictures, without a service."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch import nn

from models import padding
from models.bundle import Bundle, load_bundle
from models.padding import Pixels
from training.data import list_pictures, read_picture, to_pixels, to_tensor
from training.generators import Generator
from training.judging.likeness import Translate


def sample_folder(model: Path, input_folder: Path, output_folder: Path, size: int) -> Iterator[Path]:
    """Translate every picture below `input_folder`, shrunk to a shorter side of `size` pixels, to PNG files that keep
    their place and name below `output_folder`; yields each as it is written. Broken files are named and skipped."""
    translate = bundle_translator(load_bundle(model), ["CPUExecutionProvider"])
    for path in list_pictures(input_folder):
        pixels = read_picture(path, size)
        if pixels is None:
            continue
        output = output_folder / path.relative_to(input_folder).with_suffix(".png")
        output.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(translate(pixels[None])[0]).save(output)
        yield output


def bundle_translator(bundle: Bundle, providers: Sequence[str]) -> Translate:
    """The bundle as a function of (n, h, w, 3) bytes of any size."""
    session, version = onnxruntime.InferenceSession(bundle.onnx, providers=providers), bundle.version

    def translate(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[1:3]
        padded = np.stack([padding.pad(picture, version.multiple, version.smallest_side) for picture in pixels])
        (translations,) = session.run(None, {"pictures": padded})
        return np.asarray(translations)[:, :height, :width]

    return translate


def translator(generator: nn.Module) -> Translate:
    """The generator as a function of (n, h, w, 3) bytes of any size, on the device that it is on."""
    network = cast(Generator, generator)
    device = next(network.parameters()).device

    def translate(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[1:3]
        padded = np.stack([padding.pad(picture, network.multiple, network.smallest_side) for picture in pixels])
        with torch.no_grad():
            return to_pixels(network(to_tensor(padded).to(device)))[:, :height, :width]

    return translate
