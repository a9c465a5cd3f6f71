"""Distillation: a trained pair, or one direction of it, whose translations a smaller generator imitates.

Li et al., "GAN Compression: Efficient Architectures for Interactive Conditional GANs", CVPR 2020.
"""

from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from models.bundle import MANIFEST, Bundle, load_pair
from training.checkpoints import CHECKPOINT, load_generators
from training.config import ConfigError, TrainingConfig
from training.cyclegan import Lesson
from training.data import to_pixels, to_tensor
from training.sampling import bundle_translator

Translate = Callable[[Tensor], Tensor]
"""(n, 3, h, w) floats in [-1, 1] to the same, with no gradient."""


class Teacher:
    """What a run learns from beside its pictures: nothing, where its configuration names no teacher."""

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        self._translate = _translations(config.teacher, device) if config.teacher else {}
        self._to_y, self._to_x = self._translate.get(config.direction), self._translate.get(config.inverse)
        if config.teacher and not (self._to_y or self._to_x):
            known = ", ".join(self._translate)
            raise ConfigError(f"the teacher {config.teacher} knows {known}, and this run learns {config.direction} and {config.inverse}")

    def lesson(self, x: Tensor, y: Tensor) -> Lesson:
        """The teacher's translations of a step's pictures."""
        return Lesson(y=self._to_y(x) if self._to_y else None, x=self._to_x(y) if self._to_x else None)


def _translations(teacher: Path, device: torch.device) -> dict[str, Translate]:
    """By direction. Raises ConfigError, BundleError."""
    if (teacher / CHECKPOINT).exists():
        config, generators, _ = load_generators(teacher)
        networks = {config.direction: generators["G"], config.inverse: generators["F"]}
        return {direction: torch.no_grad()(network.to(device)) for direction, network in networks.items()}
    if not (teacher / MANIFEST).exists():
        raise ConfigError(f"{teacher} is no teacher: name a run's folder (with {CHECKPOINT}) or a bundle's (with {MANIFEST})")
    return {bundle.direction: _of_bundle(bundle, device) for bundle in load_pair(teacher)}


def _of_bundle(bundle: Bundle, device: torch.device) -> Translate:
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider") if device.type == "cuda" else ("CPUExecutionProvider",)
    translate = bundle_translator(bundle, [provider for provider in wanted if provider in onnxruntime.get_available_providers()])
    return lambda pictures: to_tensor(translate(to_pixels(pictures))).to(pictures.device)
