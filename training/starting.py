"""What a run begins with where its configuration names a start: the weights of another run, or those in a pair of bundles."""

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
    """As of the state of a CycleGAN: of both generators or of one, and of the critics where a run has them alike.
    Raises ConfigError where the generators are not those that `config` describes, and BundleError."""
    if (start / CHECKPOINT).exists():
        return load_weights(start, config)
    if not (start / MANIFEST).exists():
        raise ConfigError(f"{start} is nothing to start from: name a run's folder (with {CHECKPOINT}) or a bundle's (with {MANIFEST})")
    pair = zip("GF", load_pair(start), strict=False)
    return {f"{name}.{key}": weight for name, bundle in pair for key, weight in _weights(bundle, config).items()}


def _weights(bundle: Bundle, config: TrainingConfig) -> dict[str, Tensor]:
    """Those in the graph that `training.export` wrote, where most are kept as fp16, by the names of a generator's state."""
    generator = make_generator(config)
    wanted = generator.state_dict()
    arrays = {
        tensor.name.removeprefix("generator.").removesuffix(".fp16"): numpy_helper.to_array(tensor)
        for tensor in onnx.load(bundle.onnx).graph.initializer
        if tensor.name.removeprefix("generator.").removesuffix(".fp16") in wanted
    }
    if {name: array.shape for name, array in arrays.items()} != {name: tuple(weight.shape) for name, weight in wanted.items()}:
        raise ConfigError(
            f"start: {bundle.folder} has other generators ({bundle.version.architecture}) than this run ({generator.architecture})"
        )
    return {name: torch.tensor(array, dtype=torch.float32) for name, array in arrays.items()}
