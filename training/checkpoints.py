"""A run's state in one file, replaced whole, so that there is always a good one to resume from."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.config import ConfigError, TrainingConfig, make_config
from training.files import whole
from training.generators import Generator, make_generator
from training.memory import is_out_of_memory

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
"""The averaged generators that were judged best (see `evaluate_every`), without what only training needs."""

GENERATOR_FIELDS = ("generator", "ngf", "n_blocks", "trunk", "downsampling", "upsampling")
CRITIC_FIELDS = ("discriminator", "has_features", "ndf", "n_layers", "n_scales", "critic_norm", "spectral_norm")
"""What the networks' weights must fit."""
WHOLE_GENERATOR_FIELDS = (*GENERATOR_FIELDS, "skip", "color_skip")
"""And what weights do not tell."""
FIXED = (*WHOLE_GENERATOR_FIELDS, *CRITIC_FIELDS)
"""What a run never changes."""
FREE = (
    *("features", "critic_noise", "lambda_adversarial", "lambda_content", "lambda_color", "lambda_shift", "lambda_lattice"),
    *("steps", "decay_steps", "lr", "critic_lr", "beta1", "ema", "n_critic", "critic_warmup"),
    *("load_size", "crop_size", "flip", "augment", "pool_size", "r1_gamma", "r1_every"),
    *("lambda_cycle", "lambda_identity", "teacher", "lambda_teacher"),
    *("precision", "channels_last", "compile", "device", "cache", "workers"),
    *("checkpoint_every", "sample_every", "sample_size", "evaluate_every", "evaluate_count", "log_every"),
)
"""What may change when a run is resumed, and takes effect. What is neither fixed nor free changes only when asked for by `--force`."""
UNUSED = ("source", "target", "source_name", "target_name", "start")
"""What is compared otherwise (the domains' names and their pictures), or is not looked at after the first step."""


def save_checkpoint(run: Path, state: dict[str, Any], name: str = CHECKPOINT) -> Path:
    """Write `state` in the place of the old checkpoint. Raises ConfigError where that fails, and the old one stays."""
    path = run / name
    try:
        run.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # torch's, where a write fails in the middle of it
        raise not_written(run, error) from None
    return path


def not_written(run: Path, error: Exception) -> ConfigError:
    """What to tell where the run's folder cannot be written to any more."""
    cause: BaseException | None = error
    while cause and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    reason = cause.strerror if isinstance(cause, OSError) else str(error).splitlines()[0]
    path = run / CHECKPOINT
    good = f"the last good checkpoint is {path}" if path.exists() else "there is no checkpoint yet"
    return ConfigError(f"{run} cannot be written: {reason}; {good}: make room, and the same command resumes")


def load_checkpoint(run: Path, name: str = CHECKPOINT) -> dict[str, Any] | None:
    """The run's last checkpoint, or None where it has none yet. Raises ConfigError for a file that cannot be read, or is of another
    program."""
    path = run / name
    if not path.exists():
        return None
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, OSError) or is_out_of_memory(error):  # of which the file is not to blame
            raise
        raise ConfigError(
            f"{path} cannot be read ({str(error).splitlines()[0]}): move it away to begin anew, or name another --run"
        ) from error
    if not isinstance(checkpoint, dict) or not {"config", "step", "ema"} <= checkpoint.keys():
        raise ConfigError(f"{path} is no checkpoint that this program wrote: name another --run, or move the file away")
    return checkpoint


def saved_config(checkpoint: dict[str, Any]) -> TrainingConfig:
    """The configuration that the checkpoint was trained with. Raises ConfigError."""
    try:
        return make_config(checkpoint["config"])
    except ConfigError as error:
        raise ConfigError(f"the checkpoint is of another version of this program ({error})") from None


def check_resumable(checkpoint: dict[str, Any], config: TrainingConfig, ranks: int, force: bool = False) -> list[str]:
    """What `config` has otherwise than the checkpoint, and what that does. Raises ConfigError where a change does not fit the
    weights, or has to be asked for."""
    if not {"model", "pools", "losses"} <= checkpoint.keys():
        raise ConfigError(f"this {CHECKPOINT} has no more than generators, as {BEST} does: a new --run can begin with them (start=…)")
    saved = saved_config(checkpoint)
    if fixed := _changed(saved, config, FIXED):
        raise ConfigError(f"this run was begun with other settings ({'; '.join(fixed)}): name another --run, or set them back")
    asked = _changed(
        saved, config, ("source_domain", "target_domain", *sorted(TrainingConfig.model_fields.keys() - {*FIXED, *FREE, *UNUSED}))
    )
    if len(checkpoint["pools"]) != ranks:
        asked.append(f"processes {len(checkpoint['pools'])} → {ranks}")
    if asked and not force:
        raise ConfigError(_other(asked))
    started = config.start and config.start != saved.start
    return [*asked, *_changed(saved, config, FREE), *(["start is no longer looked at, since the run has begun"] if started else [])]


def check_new(run: Path) -> None:
    """Raises ConfigError where a run would begin in a folder that has weights of an earlier one."""
    if (run / BEST).exists():
        raise ConfigError(f"{run} has the {BEST} of an earlier run, and no {CHECKPOINT}: name another --run, or move {BEST} away")


def check_pictures(known: dict[str, dict[str, Any]], pictures: dict[str, dict[str, Any]], force: bool) -> None:
    """How many training pictures each domain has, and their hash: as a checkpoint has it, and as it is. Raises ConfigError where
    they differ."""
    changed = [
        f"the {before['pictures']} pictures of {name} → {pictures[name]['pictures']} others"
        for name, before in known.items()
        if name in pictures and pictures[name] != before
    ]
    if changed and not force:
        raise ConfigError(_other(changed))


def _other(changed: list[str]) -> str:
    return (
        f"this run was begun with other settings ({'; '.join(changed)}): name another --run, set them back, "
        "or give --force to go on with these"
    )


def load_weights(run: Path, config: TrainingConfig) -> dict[str, Tensor]:
    """A run's averaged generators, as of the state of a CycleGAN, and its critics where they are those that `config` describes.
    Raises ConfigError where the generators are not."""
    checkpoint = existing_checkpoint(run)
    saved = saved_config(checkpoint)
    changed = _changed(saved, config, GENERATOR_FIELDS)
    if changed:
        raise ConfigError(f"start: {run} has other generators ({'; '.join(changed)})")
    critics = {} if _changed(saved, config, CRITIC_FIELDS) else checkpoint.get("model", {})
    return critics | _averaged(checkpoint)


def load_generators(run: Path, best: bool = False) -> tuple[TrainingConfig, dict[str, Generator], int]:
    """A run's configuration, its averaged generators ("G" and "F", on the CPU, in eval mode), and its steps so far; or those that
    were judged `best`."""
    return generators_of(existing_checkpoint(run, BEST if best else CHECKPOINT))


def generators_of(checkpoint: dict[str, Any]) -> tuple[TrainingConfig, dict[str, Generator], int]:
    """The same of a checkpoint that was read already."""
    config = saved_config(checkpoint)
    generators = {name: make_generator(config).eval() for name in ("G", "F")}
    nn.ModuleDict(generators).load_state_dict(_averaged(checkpoint))
    return config, generators, checkpoint["step"]


def with_folders(config: TrainingConfig, source: Path | None, target: Path | None) -> TrainingConfig:
    """The run's configuration with its pictures elsewhere: the domains keep their names."""
    names = {"source_name": config.source_domain, "target_name": config.target_domain}
    return config.model_copy(update=names | {"source": source or config.source, "target": target or config.target})


def existing_checkpoint(run: Path, name: str = CHECKPOINT) -> dict[str, Any]:
    """Raises ConfigError where the run has none."""
    checkpoint = load_checkpoint(run, name)
    if checkpoint is None:
        way = "train it with --set evaluate_every=1000" if name == BEST else "train it first, or name another run"
        raise ConfigError(f"{run} has no {name}: {way}")
    return checkpoint


def _averaged(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The moving averages of both generators, by `G.` and `F.` and the weight's name."""
    return {key.removeprefix("module."): value for key, value in checkpoint["ema"].items() if key.startswith("module.")}


def _changed(saved: TrainingConfig, config: TrainingConfig, names: Iterable[str]) -> list[str]:
    """Which of the named fields `config` has otherwise than the saved one."""
    differing = [name for name in names if getattr(saved, name) != getattr(config, name)]
    return [f"{_set_by(name)} {getattr(saved, name)} → {getattr(config, name)}" for name in differing]


def _set_by(name: str) -> str:
    """The field that makes what is compared."""
    return name.removeprefix("has_").replace("_domain", "_name")
