"""Distillation: a smaller generator imitates the translations of a trained run or bundle.

Li et al., "GAN Compression: Efficient Architectures for Interactive Conditional GANs", CVPR 2020.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from models.bundle import MANIFEST, load_pair
from training.checkpoints import CHECKPOINT, load_generators
from training.config import ConfigError, TrainingConfig
from training.data import Pixels, to_pixels, to_tensor
from training.sampling import bundle_translator

Translate = Callable[[Tensor], Tensor]
"""Translates (n, 3, h, w) floats in [-1, 1] without gradients."""


class Teacher:
    """The teacher of a run. Without one in the configuration, it translates nothing."""

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        """Raises ConfigError if the teacher knows neither direction of the run."""
        directions = _load_directions(config.teacher, device) if config.teacher else {}
        self._to_y, self._to_x = directions.get(config.direction), directions.get(config.inverse)
        if config.teacher and not (self._to_y or self._to_x):
            known = ", ".join(directions)
            raise ConfigError(f"the teacher {config.teacher} knows {known}, but this run learns {config.direction} and {config.inverse}")

    def translate(self, x: Tensor, y: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the teacher's translations of y into X and of x into Y; None for a direction that it does not know."""
        return self._to_x(y) if self._to_x else None, self._to_y(x) if self._to_y else None


def _load_directions(teacher: Path, device: torch.device) -> dict[str, Translate]:
    if (teacher / CHECKPOINT).exists():
        config, generators, _ = load_generators(teacher)
        networks = {config.direction: generators["G"], config.inverse: generators["F"]}
        return {direction: torch.no_grad()(network.to(device)) for direction, network in networks.items()}
    if not (teacher / MANIFEST).exists():
        raise ConfigError(f"{teacher} is not a teacher: name the folder of a run (with {CHECKPOINT}) or of a bundle (with {MANIFEST})")
    translators = {bundle.direction: bundle_translator(bundle, device.type) for bundle in load_pair(teacher)}
    return {direction: _on_tensors(translate) for direction, translate in translators.items()}


def _on_tensors(translate: Callable[[Pixels], Pixels]) -> Translate:
    return lambda pictures: to_tensor(translate(to_pixels(pictures))).to(pictures.device)
