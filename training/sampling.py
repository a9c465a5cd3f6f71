"""A bundle over a folder of pictures, without a service."""

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
from training.config import ConfigError
from training.data import list_pictures, read_picture, to_pixels, to_tensor
from training.files import check_writable, whole
from training.generators import Generator
from training.judging.likeness import Translate


def sample_folder(model: Path, input: Path, output_folder: Path, size: int) -> Iterator[Path]:
    """Translate every picture below the folder `input`, or the one picture that it is, shrunk to a shorter side of `size` pixels, to PNG
    files that keep their place and name below `output_folder`; yields each as it is written. Broken files are named and skipped.
    Raises ConfigError, before anything is written, where an input would be written over, or nothing can be."""
    bundle = load_bundle(model)
    folder = input.parent if input.is_file() else input
    inside = input.resolve() in output_folder.resolve().parents
    paths = [input] if input.is_file() else list_pictures(input, without=[output_folder] if inside else [])
    outputs = _outputs(paths, folder, output_folder)
    over = next((path for path in paths if path.resolve() in {output.resolve() for output in outputs}), None)
    if over:
        raise ConfigError(f"--output {output_folder}: {over} would be written over: name another folder")
    check_writable(output_folder)
    translate = bundle_translator(bundle, ["CPUExecutionProvider"])
    for path, output in zip(paths, outputs, strict=True):
        pixels = read_picture(path, size)
        if pixels is None:
            continue
        output.parent.mkdir(parents=True, exist_ok=True)
        with whole(output) as file:
            Image.fromarray(translate(pixels[None])[0]).save(file, "PNG")
        yield output


def _outputs(paths: Sequence[Path], folder: Path, output_folder: Path) -> list[Path]:
    """`a.jpg` gives `a.png`, and an `a.bmp` beside it `a.bmp.png`."""
    outputs: dict[Path, None] = {}
    for path in paths:
        output = output_folder / path.relative_to(folder).with_suffix(".png")
        outputs[output if output not in outputs else output.with_name(f"{path.name}.png")] = None
    return list(outputs)


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
