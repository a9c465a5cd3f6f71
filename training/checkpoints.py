"""A run's state in one file, replaced whole, so that there is always a good one to resume from."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.config import ConfigError, TrainingConfig
from training.generators import Generator, make_generator

CHECKPOINT = "checkpoint.pt"
CONFIG = "config.yaml"

GENERATOR_FIELDS = ("generator", "ngf", "n_blocks", "trunk", "downsampling", "upsampling")
CRITIC_FIELDS = ("discriminator", "ndf", "n_layers", "n_scales", "critic_norm", "spectral_norm")
"""What the networks' weights must fit."""


def save_checkpoint(run: Path, state: dict[str, Any]) -> Path:
    """Write `state` beside the old checkpoint, then put it in its place."""
    path = run / CHECKPOINT
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return path


def load_checkpoint(run: Path) -> dict[str, Any] | None:
    """The run's last checkpoint, or None where it has none yet. Raises ConfigError for a file that cannot be read."""
    path = run / CHECKPOINT
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(f"{path} cannot be read ({error}): delete it to start the run anew") from error


def check_resumable(checkpoint: dict[str, Any], config: TrainingConfig, ranks: int) -> None:
    """Raises ConfigError where the checkpoint is of other networks than `config` describes, or of more or fewer processes."""
    changed = _changed(checkpoint, config, (*GENERATOR_FIELDS, "skip", *CRITIC_FIELDS, "pool_size"))
    if len(checkpoint["pools"]) != ranks:
        changed.append(f"processes {len(checkpoint['pools'])} → {ranks}")
    if changed:
        raise ConfigError(f"this run was begun with other settings ({'; '.join(changed)}): name another --run, or set them back")


def load_weights(run: Path, config: TrainingConfig) -> dict[str, Tensor]:
    """A run's averaged generators, as of the state of a CycleGAN, and its critics where they are those that `config` describes.
    Raises ConfigError where the generators are not."""
    checkpoint = _existing_checkpoint(run)
    changed = _changed(checkpoint, config, GENERATOR_FIELDS)
    if changed:
        raise ConfigError(f"start: {run} has other generators ({'; '.join(changed)})")
    critics = {} if _changed(checkpoint, config, CRITIC_FIELDS) else checkpoint["model"]
    return critics | _averaged(checkpoint)


def load_generators(run: Path) -> tuple[TrainingConfig, dict[str, Generator], int]:
    """A run's configuration, its averaged generators ("G" and "F", on the CPU, in eval mode), and its steps so far."""
    checkpoint = _existing_checkpoint(run)
    config = TrainingConfig(**checkpoint["config"])
    generators = {name: make_generator(config).eval() for name in ("G", "F")}
    nn.ModuleDict(generators).load_state_dict(_averaged(checkpoint))
    return config, generators, checkpoint["step"]


def _existing_checkpoint(run: Path) -> dict[str, Any]:
    checkpoint = load_checkpoint(run)
    if checkpoint is None:
        raise ConfigError(f"{run} has no {CHECKPOINT}: train it first, or name another run")
    return checkpoint


def _averaged(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The moving averages of both generators, by `G.` and `F.` and the weight's name."""
    return {key.removeprefix("module."): value for key, value in checkpoint["ema"].items() if key.startswith("module.")}


def _changed(checkpoint: dict[str, Any], config: TrainingConfig, names: Iterable[str]) -> list[str]:
    """Which of the named fields `config` has otherwise than the checkpoint's."""
    saved = TrainingConfig(**checkpoint["config"])
    pairs = [(name, getattr(saved, name), getattr(config, name)) for name in names]
    return [f"{name} {before} → {now}" for name, before, now in pairs if before != now]
