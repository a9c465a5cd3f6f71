"""Translating pictures with a bundle or a generator, without the service."""

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
from training.files import check_writable, open_atomic
from training.generators import Generator
from training.judging.likeness import Translate


def sample_folder(model: Path, input: Path, output_folder: Path, size: int) -> Iterator[Path]:
    """Translate the picture `input`, or all pictures below that folder, to PNG files with the same relative paths in `output_folder`.

    Pictures are shrunk to a shorter side of `size` pixels. Yields each output when it is written; skips broken files with a warning.
    Raises ConfigError, before anything is written, if an input would be overwritten or the output cannot be written.
    """
    bundle = load_bundle(model)
    folder = input.parent if input.is_file() else input
    inside = input.resolve() in output_folder.resolve().parents
    paths = [input] if input.is_file() else list_pictures(input, without=[output_folder] if inside else [])
    outputs = _output_paths(paths, folder, output_folder)
    if overwritten := {path.resolve() for path in paths} & {path.resolve() for path in outputs}:
        raise ConfigError(f"--output {output_folder}: {min(overwritten)} would be overwritten: name another folder")
    check_writable(output_folder)
    translate = bundle_translator(bundle)
    for path, output in zip(paths, outputs, strict=True):
        pixels = read_picture(path, size)
        if pixels is None:
            continue
        output.parent.mkdir(parents=True, exist_ok=True)
        with open_atomic(output) as file:
            Image.fromarray(translate(pixels[None])[0]).save(file, "PNG")
        yield output


def _output_paths(paths: Sequence[Path], folder: Path, output_folder: Path) -> list[Path]:
    """Return `a.png` for `a.jpg`, and `a.bmp.png` for an `a.bmp` in the same folder."""
    outputs: dict[Path, None] = {}
    for path in paths:
        output = output_folder / path.relative_to(folder).with_suffix(".png")
        outputs[output if output not in outputs else output.with_name(f"{path.name}.png")] = None
    return list(outputs)


def _any_size(translate: Translate, multiple: int, smallest_side: int) -> Translate:
    """Let `translate` take pictures of any size: pad them to sides that fit, and crop the translations."""

    def translate_padded(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[1:3]
        return translate(np.stack([padding.pad(picture, multiple, smallest_side) for picture in pixels]))[:, :height, :width]

    return translate_padded


def bundle_translator(bundle: Bundle, device: str = "cpu") -> Translate:
    """Return the bundle as a function of (n, h, w, 3) bytes of any size, which runs on CUDA for a CUDA device if ONNX Runtime has it."""
    use_cuda = device.startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    providers = [*(["CUDAExecutionProvider"] if use_cuda else []), "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(bundle.onnx, providers=providers)

    def translate(pixels: Pixels) -> Pixels:
        return np.asarray(session.run(None, {"pictures": pixels})[0])

    return _any_size(translate, bundle.version.multiple, bundle.version.smallest_side)


def translator(generator: nn.Module) -> Translate:
    """Return the generator as a function of (n, h, w, 3) bytes of any size, on the generator's device."""
    network = cast(Generator, generator)
    device = next(network.parameters()).device

    @torch.no_grad()
    def translate(pixels: Pixels) -> Pixels:
        return to_pixels(network(to_tensor(pixels).to(device)))

    return _any_size(translate, network.multiple, network.smallest_side)
