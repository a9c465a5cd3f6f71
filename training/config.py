"""From a preset, a file or a run, and what `--set` says, to a configuration."""

import difflib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from training.fields import TrainingConfig

PRESETS = Path(__file__).parent / "presets"
"""YAML files of a configuration's fields."""
CONFIG = "config.yaml"
"""In a run's folder: the configuration that it was trained with last."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says which field and what to do."""


def load_config(preset: str, /, **fields: Any) -> TrainingConfig:
    """The fields of a preset, a YAML file or a run's folder, and over them `fields`. Raises ConfigError, which says what to change."""
    file = _preset_file(preset)
    try:
        own = yaml.safe_load(file.read_text("utf-8"))
        fields = own | fields
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{file} is no YAML file of a configuration's fields: {_one_line(error)}") from None
    if unknown := [name for name in own if isinstance(name, str) and name not in TrainingConfig.model_fields]:
        raise ConfigError(f"{file}: {_no_such(unknown[0])}")
    if fields.get("features") == "auto":
        fields["features"] = "vgg19" if find_spec("torchvision") else "none"
    return make_config(fields)


def own_preset(run: Path) -> str:
    """Where the configuration of a run that exists is, else the usual preset's name: for `load_config`."""
    return str(run) if (run / CONFIG).is_file() else "standard"


def _preset_file(preset: str) -> Path:
    path = Path(preset)
    if (path / CONFIG).is_file():
        return path / CONFIG
    if path.is_file():
        return path
    named = PRESETS / f"{preset}.yaml"
    if not named.is_file():
        known = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
        what = "file" if path.suffix in (".yaml", ".yml") else "preset"
        raise ConfigError(f"there is no {what} {preset!r}; the presets are: {known}; or name a YAML file, or a run's folder")
    return named


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """`["steps=20000", "ema=0.99"]`, as typed after `--set`, as a dictionary of fields."""
    fields = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator or not name:
            raise ConfigError(f"--set {setting}: write a field and its value, like --set steps=20000")
        try:
            fields[name.strip()] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
            raise ConfigError(f"--set {setting}: {value!r} is no value ({_one_line(error)})") from None
    return fields


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def make_config(fields: dict[str, Any]) -> TrainingConfig:
    """Raises ConfigError, which names each field that cannot be used."""
    try:
        return TrainingConfig.model_validate(fields)
    except ValidationError as error:
        raise ConfigError("; ".join(map(_problem, error.errors()))) from None


def _problem(error: Any) -> str:
    field = ".".join(map(str, error["loc"])) or "configuration"
    if error["type"] == "extra_forbidden":
        return _no_such(field)
    if error["type"] == "missing":
        return f"{field}: name the folder, like --{field} data/photo"
    return f"{field}: {error['msg'].removeprefix('Value error, ')}"


def _no_such(field: str) -> str:
    near = difflib.get_close_matches(field, TrainingConfig.model_fields, 1)
    return f"{field}: there is no such field" + (f"; did you mean {near[0]}?" if near else "")
