"""A run's state in one file, which is replaced as a whole, so that there is always a good one to resume from."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.config import ConfigError, TrainingConfig, make_config
from training.files import open_atomic
from training.generators import Generator, make_generator
from training.memory import is_out_of_memory

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
"""The averaged generators with the best score (see `evaluate_every`), without the state that only training needs."""

GENERATOR_FIELDS = ("generator", "ngf", "n_blocks", "trunk", "downsampling", "upsampling")
"""The fields that the shapes of the generators' weights depend on."""
CRITIC_FIELDS = ("discriminator", "has_features", "ndf", "n_layers", "n_scales", "critic_norm", "spectral_norm")
"""The fields that the shapes of the critics' weights depend on."""
WHOLE_GENERATOR_FIELDS = (*GENERATOR_FIELDS, "skip", "color_skip")
"""All fields that define a generator."""
FIXED = (*WHOLE_GENERATOR_FIELDS, *CRITIC_FIELDS)
"""Fields that a run can never change."""
FREE = (
    *("features", "critic_noise", "lambda_adversarial", "lambda_content", "lambda_color", "lambda_shift", "lambda_lattice"),
    *("steps", "decay_steps", "lr", "critic_lr", "beta1", "ema", "n_critic", "critic_warmup"),
    *("load_size", "crop_size", "flip", "augment", "pool_size", "r1_gamma", "r1_every"),
    *("lambda_cycle", "lambda_identity", "teacher", "lambda_teacher"),
    *("precision", "channels_last", "compile", "device", "cache", "workers"),
    *("checkpoint_every", "sample_every", "sample_size", "evaluate_every", "evaluate_count", "log_every"),
)
"""Fields that may change when a run is resumed. Fields that are neither fixed nor free need `--force` to change."""
UNUSED = ("source", "target", "source_name", "target_name", "start")
"""Fields that are checked in another way (by domain names and pictures), or have no effect after the first step."""


def save_checkpoint(run: Path, state: dict[str, Any], name: str = CHECKPOINT) -> Path:
    """Replace the checkpoint with `state`. Raises ConfigError, and keeps the old one, if that fails."""
    path = run / name
    try:
        run.mkdir(parents=True, exist_ok=True)
        with open_atomic(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError when a write fails
        raise write_error(run, error) from None
    return path


def write_error(run: Path, error: Exception) -> ConfigError:
    """Return the error to raise if the run's folder cannot be written."""
    cause: BaseException | None = error
    while cause and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    reason = cause.strerror if isinstance(cause, OSError) else str(error).splitlines()[0]
    return ConfigError(f"{run} cannot be written: {reason}; {last_checkpoint(run)}: make room, and the same command resumes")


def last_checkpoint(run: Path) -> str:
    """Say which checkpoint is left, for error messages."""
    path = run / CHECKPOINT
    return f"the last good checkpoint is {path}" if path.exists() else "there is no checkpoint yet"


def load_checkpoint(run: Path, name: str = CHECKPOINT) -> dict[str, Any] | None:
    """Return the run's checkpoint, or None if it has none yet. Raises ConfigError if the file cannot be read or is not a checkpoint."""
    path = run / name
    if not path.exists():
        return None
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, OSError) or is_out_of_memory(error):  # not the file's fault
            raise
        raise ConfigError(
            f"{path} cannot be read ({str(error).splitlines()[0]}): move it away to start again, or name another --run"
        ) from error
    if not isinstance(checkpoint, dict) or not {"config", "step", "ema"} <= checkpoint.keys():
        raise ConfigError(f"{path} is not a checkpoint of this program: name another --run, or move the file away")
    return checkpoint


def existing_checkpoint(run: Path, name: str = CHECKPOINT) -> dict[str, Any]:
    """Return the run's checkpoint like `load_checkpoint`, but raise ConfigError if there is none."""
    checkpoint = load_checkpoint(run, name)
    if checkpoint is None:
        hint = "train it with --set evaluate_every=1000" if name == BEST else "train it first, or name another run"
        raise ConfigError(f"{run} has no {name}: {hint}")
    return checkpoint


def saved_config(checkpoint: dict[str, Any]) -> TrainingConfig:
    """Return the configuration that the checkpoint was trained with. Raises ConfigError."""
    try:
        return make_config(checkpoint["config"])
    except ConfigError as error:
        raise ConfigError(f"the checkpoint is from another version of this program ({error})") from None


def check_resumable(checkpoint: dict[str, Any], config: TrainingConfig, ranks: int, force: bool = False) -> list[str]:
    """Return the differences between `config` and the checkpoint's configuration.
    Raises ConfigError if one of them does not fit the weights, or needs `force`."""
    if not {"model", "pools", "losses"} <= checkpoint.keys():
        raise ConfigError(f"this {CHECKPOINT} contains only generators, like {BEST}: use it to start a new --run (start=…)")
    saved = saved_config(checkpoint)
    if fixed := _changes(saved, config, FIXED):
        raise ConfigError(f"this run was started with other settings ({'; '.join(fixed)}): name another --run, or set them back")
    others = sorted(TrainingConfig.model_fields.keys() - {*FIXED, *FREE, *UNUSED})
    forced = _changes(saved, config, ("source_domain", "target_domain", *others))
    if len(checkpoint["pools"]) != ranks:
        forced.append(f"processes {len(checkpoint['pools'])} → {ranks}")
    _require_force(forced, force)
    ignored = ["start has no effect, since the run has started already"] if config.start and config.start != saved.start else []
    return [*forced, *_changes(saved, config, FREE), *ignored]


def check_new(run: Path) -> None:
    """Raise ConfigError if a new run would start in a folder that has weights of an earlier one."""
    if (run / BEST).exists():
        raise ConfigError(f"{run} has the {BEST} of an earlier run, but no {CHECKPOINT}: name another --run, or move {BEST} away")


def check_pictures(saved: dict[str, dict[str, Any]], pictures: dict[str, dict[str, Any]], force: bool) -> None:
    """Compare the number and the hash of each domain's training pictures with the checkpoint's. Raises ConfigError if they differ."""
    changed = [
        f"the {before['pictures']} pictures of {name} → {pictures[name]['pictures']} others"
        for name, before in saved.items()
        if name in pictures and pictures[name] != before
    ]
    _require_force(changed, force)


def _require_force(changes: list[str], force: bool) -> None:
    if changes and not force:
        raise ConfigError(
            f"this run was started with other settings ({'; '.join(changes)}): name another --run, set them back, "
            "or use --force to continue with these"
        )


def load_weights(run: Path, config: TrainingConfig) -> dict[str, Tensor]:
    """Return a run's averaged generators as part of a CycleGAN's state dict, with its critics if they fit `config`.
    Raises ConfigError if the generators do not fit."""
    checkpoint = existing_checkpoint(run)
    saved = saved_config(checkpoint)
    if changes := _changes(saved, config, GENERATOR_FIELDS):
        raise ConfigError(f"start: {run} has other generators ({'; '.join(changes)})")
    critics = {} if _changes(saved, config, CRITIC_FIELDS) else checkpoint.get("model", {})
    return critics | _averaged_weights(checkpoint)


def load_generators(run: Path, best: bool = False) -> tuple[TrainingConfig, dict[str, Generator], int]:
    """Return a run's configuration, its last or best averaged generators ("G" and "F", on the CPU, in eval mode), and their step."""
    return make_generators(existing_checkpoint(run, BEST if best else CHECKPOINT))


def make_generators(checkpoint: dict[str, Any]) -> tuple[TrainingConfig, dict[str, Generator], int]:
    """Do the same for a checkpoint that is loaded already."""
    config = saved_config(checkpoint)
    generators = {name: make_generator(config).eval() for name in ("G", "F")}
    nn.ModuleDict(generators).load_state_dict(_averaged_weights(checkpoint))
    return config, generators, checkpoint["step"]


def with_folders(config: TrainingConfig, source: Path | None, target: Path | None) -> TrainingConfig:
    """Return the configuration with other picture folders, but the same domain names."""
    names = {"source_name": config.source_domain, "target_name": config.target_domain}
    return config.model_copy(update=names | {"source": source or config.source, "target": target or config.target})


def _averaged_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    return {key.removeprefix("module."): value for key, value in checkpoint["ema"].items() if key.startswith("module.")}


def _changes(saved: TrainingConfig, config: TrainingConfig, names: Iterable[str]) -> list[str]:
    """Return the named fields and properties that differ, with both values. A property is called by the field that sets it."""
    return [
        f"{name.removeprefix('has_').replace('_domain', '_name')} {getattr(saved, name)} → {getattr(config, name)}"
        for name in names
        if getattr(saved, name) != getattr(config, name)
    ]
