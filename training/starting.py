"""Weights to start a new run from: those of another run, or of a pair of bundles."""

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from models.bundle import MANIFEST, Bundle, load_pair
from training.checkpoints import CHECKPOINT, load_weights
from training.config import ConfigError, TrainingConfig
from training.generators import make_generator


def starting_weights(start: Path, config: TrainingConfig) -> dict[str, Tensor]:
    """Return part of a CycleGAN's state dict: one or both generators, and the critics if `start` is a run with the same ones.
    Raises ConfigError if the generators do not fit `config`, and BundleError."""
    if (start / CHECKPOINT).exists():
        return load_weights(start, config)
    if not (start / MANIFEST).exists():
        raise ConfigError(f"start: {start} is not a run (with {CHECKPOINT}) or a bundle (with {MANIFEST}): name the folder of one")
    pair = zip("GF", load_pair(start), strict=False)
    return {f"{name}.{key}": weight for name, bundle in pair for key, weight in _bundle_weights(bundle, config).items()}


def _bundle_weights(bundle: Bundle, config: TrainingConfig) -> dict[str, Tensor]:
    """Return a generator's state dict from a graph that `training.export` wrote. It keeps most weights as fp16."""
    generator = make_generator(config)
    shapes = {name: tuple(weight.shape) for name, weight in generator.state_dict().items()}
    arrays = {
        name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(bundle.onnx).graph.initializer
        if (name := tensor.name.removeprefix("generator.").removesuffix(".fp16")) in shapes
    }
    if {name: array.shape for name, array in arrays.items()} != shapes:
        raise ConfigError(
            f"start: {bundle.folder} has other generators ({bundle.version.architecture}) than this run ({generator.architecture})"
        )
    return {name: torch.tensor(array, dtype=torch.float32) for name, array in arrays.items()}
