"""A run's generators as files of weights in the layout that others read: names as in pytorch-CycleGAN-and-pix2pix."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch

from training.checkpoints import load_generators
from training.files import whole
from training.generators import ResnetGenerator

log = logging.getLogger(__name__)

FILES = {"G": "latest_net_G_A", "F": "latest_net_G_B"}
"""What others call the two mappings."""


def write_weights(run: Path, folder: Path, best: bool = False) -> Iterator[Path]:
    """Both generators as `.pth` and as `.safetensors`, in fp32. Yields each file as it is written."""
    _, generators, step = load_generators(run, best)
    folder.mkdir(parents=True, exist_ok=True)
    for name, generator in generators.items():
        if isinstance(generator, ResnetGenerator) and generator.skip:
            log.warning("skip %g is in no file of weights: other programs leave it out, and their pictures differ", generator.skip)
        state = {key: tensor.contiguous() for key, tensor in generator.state_dict().items()}
        told = {"architecture": generator.architecture, "steps": str(step)}
        pth = io.BytesIO()
        torch.save(state, pth)
        for suffix, content in ((".pth", pth.getvalue()), (".safetensors", safetensors.torch.save(state, told))):
            path = folder / f"{FILES[name]}{suffix}"
            with whole(path) as file:
                file.write(content)
            yield path
