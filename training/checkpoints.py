"""A run's state in one file, replaced whole, so that there is always a good one to resume from."""

import os
from pathlib import Path
from typing import Any

import torch

from training.config import ConfigError, TrainingConfig
from training.generators import ResnetGenerator, make_generator

CHECKPOINT = "checkpoint.pt"
CONFIG = "config.yaml"

NETWORK_FIELDS = ("generator", "ngf", "n_blocks", "upsampling", "discriminator", "ndf", "n_layers", "pool_size")
"""Fields that a resumed run cannot change: the state would not fit."""


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


def check_resumable(saved: dict[str, Any], config: TrainingConfig) -> None:
    """Raises ConfigError where `config` describes other networks than the checkpoint's."""
    now = config.model_dump(mode="json")
    changed = [f"{name} {saved[name]} → {now[name]}" for name in NETWORK_FIELDS if saved[name] != now[name]]
    if changed:
        raise ConfigError(f"this run was begun with other networks ({'; '.join(changed)}): name another --run, or set them back")


def load_generators(run: Path) -> tuple[TrainingConfig, dict[str, ResnetGenerator], int]:
    """A run's configuration, its averaged generators ("G" and "F", on the CPU, in eval mode), and its steps so far."""
    checkpoint = load_checkpoint(run)
    if checkpoint is None:
        raise ConfigError(f"{run} has no {CHECKPOINT}: train it first, or name another --run")
    config = TrainingConfig(**checkpoint["config"])
    generators = {}
    for name in ("G", "F"):
        prefix = f"module.{name}."
        weights = {key.removeprefix(prefix): value for key, value in checkpoint["ema"].items() if key.startswith(prefix)}
        generators[name] = make_generator(config)
        generators[name].load_state_dict(weights)
        generators[name].eval()
    return config, generators, checkpoint["step"]
