"""Reading a configuration: a preset, a file or a run's folder, and the fields given with `--set`."""

import difflib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from training.fields import TrainingConfig

PRESETS = Path(__file__).parent / "presets"
CONFIG = "config.yaml"
"""The file in a run's folder with the configuration that it was last trained with."""


class ConfigError(ValueError):
    """A configuration that cannot be used. The message says which field is wrong, and what to do."""


def load_config(preset: str, /, **fields: Any) -> TrainingConfig:
    """Return the configuration of a preset, a YAML file or a run's folder, updated with `fields`. Raises ConfigError."""
    file = _preset_file(preset)
    try:
        own = yaml.safe_load(file.read_text("utf-8"))
        fields = own | fields
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{file} is not a YAML file of configuration fields: {_one_line(error)}") from None
    if unknown := [name for name in own if isinstance(name, str) and name not in TrainingConfig.model_fields]:
        raise ConfigError(f"{file}: {_unknown_field(unknown[0])}")
    if fields.get("features") == "auto":
        fields["features"] = "vgg19" if find_spec("torchvision") else "none"
    return make_config(fields)


def default_preset(run: Path) -> str:
    """Return the run itself if it has a configuration, else the standard preset, as an argument of `load_config`."""
    return str(run) if (run / CONFIG).is_file() else "standard"


def _preset_file(preset: str) -> Path:
    path = Path(preset)
    for file in (path / CONFIG, path, PRESETS / f"{preset}.yaml"):
        if file.is_file():
            return file
    known = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
    kind = "file" if path.suffix in (".yaml", ".yml") else "preset"
    raise ConfigError(f"there is no {kind} {preset!r}; the presets are: {known}; or name a YAML file, or a run's folder")


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Parse the values of `--set`, like `["steps=20000", "ema=0.99"]`, into a dictionary of fields. Raises ConfigError."""
    fields = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator or not name:
            raise ConfigError(f"--set {setting}: write a field and its value, like --set steps=20000")
        try:
            fields[name.strip()] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
            raise ConfigError(f"--set {setting}: {value!r} is not a valid value ({_one_line(error)})") from None
    return fields


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def make_config(fields: dict[str, Any]) -> TrainingConfig:
    """Validate `fields`. Raises ConfigError, which names each invalid field."""
    try:
        return TrainingConfig.model_validate(fields)
    except ValidationError as error:
        raise ConfigError("; ".join(map(_describe, error.errors()))) from None


def _describe(error: Any) -> str:
    field = ".".join(map(str, error["loc"])) or "configuration"
    if error["type"] == "extra_forbidden":
        return _unknown_field(field)
    if error["type"] == "missing":
        return f"{field}: name the folder, like --{field} data/photo"
    return f"{field}: {error['msg'].removeprefix('Value error, ')}"


def _unknown_field(field: str) -> str:
    similar = difflib.get_close_matches(field, TrainingConfig.model_fields, 1)
    return f"{field}: there is no such field" + (f"; did you mean {similar[0]}?" if similar else "")
