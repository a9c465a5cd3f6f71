"""A run's or a bundle's figures: its directions judged on test pictures, with a sheet to look at."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from models.bundle import load_pair
from training.checkpoints import load_generators, with_folders
from training.config import ConfigError, TrainingConfig
from training.data import Pixels, read_pictures, test_pictures, train_pictures
from training.files import check_writable, whole
from training.judging.features import EfficientNetLite0
from training.judging.figures import Judge, score
from training.judging.inception import load_inception
from training.judging.likeness import Translate, load_lpips
from training.perception import load_features
from training.sampling import bundle_translator, translator
from training.sheets import judging_sheet

EVALUATION = "evaluation.json"
LARGEST_SHORTER_SIDE = 512


@dataclass(frozen=True)
class Means:
    """What directions are judged with: pictures of each folder at most, what else than EfficientNet is asked for, and the device."""

    count: int = 100
    features: Path | None = None
    inception: Path | None = None
    lpips: bool = False
    device: str = "cpu"

    def providers(self) -> list[str]:
        """For ONNX Runtime."""
        return ["CUDAExecutionProvider", "CPUExecutionProvider"] if self.device.startswith("cuda") else ["CPUExecutionProvider"]


class Judging:
    """Judges directions, by name, each from a folder of pictures to another: the pictures, the networks, and what these see in the
    pictures are the same each time. `vgg`, where there is one already, takes the place of the `means`' features."""

    def __init__(self, folders: Mapping[str, tuple[Path, Path]], means: Means, vgg: nn.Module | None = None) -> None:
        self.means = means
        networks: dict[str, nn.Module] = {"kid": EfficientNetLite0()}
        if vgg or means.features:
            networks["style"] = vgg or cast(nn.Module, load_features(str(means.features)))
        networks = {key: network.to(means.device) for key, network in networks.items()}
        further = load_inception(means.inception) if means.inception else None, load_lpips() if means.lpips else None
        self._judges = {
            direction: Judge(*_pictures(source, target, means.count), networks, *further) for direction, (source, target) in folders.items()
        }

    def judge(
        self, translates: Mapping[str, tuple[Translate, Translate | None]], output: Path, told: dict[str, Any],
        others: Mapping[str, Translate] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """The figures of what `translates` there and, if anything does, back, by direction; also left in evaluation.json in `output`, with
        what is `told` and a sheet of each direction beside it, which shows what `others` make of the pictures, too."""
        output.mkdir(parents=True, exist_ok=True)
        figures = {}
        for direction, (there, back) in translates.items():
            judge = self._judges[direction]
            judged, translations = judge.figures(there, back)
            figures[direction] = judged | {"score": score(judged)}
            with whole(output / f"{direction}.jpg") as file:
                file.write(judging_sheet(judge.source, translations, (others or {}).get(direction)))
        evaluation = told | {"pictures": self.means.count, "directions": figures}
        with whole(output / EVALUATION) as file:
            file.write(json.dumps(evaluation, indent=2).encode() + b"\n")
        return evaluation


def run_folders(config: TrainingConfig) -> dict[str, tuple[Path, Path]]:
    """For `Judging`: both directions of a run."""
    return {config.direction: (config.source, config.target), config.inverse: (config.target, config.source)}


def run_translates(config: TrainingConfig, generators: Mapping[str, nn.Module]) -> dict[str, tuple[Translate, Translate | None]]:
    """For its `judge`: by the generators "G" and "F", on the device that they are on."""
    g, f = (translator(generators[name]) for name in "GF")
    return {config.direction: (g, f), config.inverse: (f, g)}


def evaluate_run(
    run: Path, means: Means, *, source: Path | None = None, target: Path | None = None, output: Path | None = None, best: bool = False,
    beside: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The figures of both directions, left in the run's folder, or in `output`, as `Judging.judge` has it.

    The pictures are those of the run's own domains, or of `source` and `target`; the weights the last, or the `best` that were kept.
    Sheets show `beside`, a bundle, too, or its way back. Pictures whose shorter side is above 512 pixels are shrunk to that.
    Raises ConfigError, BundleError.
    """
    trained, generators, step = load_generators(run, best)
    config = with_folders(trained, source, target)
    check_writable(output or run)
    others = _others(beside, means)
    translates = run_translates(config, {name: network.to(means.device) for name, network in generators.items()})
    return Judging(run_folders(config), means).judge(translates, output or run, {"steps": step}, others)


def evaluate_bundle(model: Path, means: Means, source: Path, target: Path, output: Path, beside: Path | None = None) -> dict[str, Any]:
    """The same of a bundle's one direction, left in `output`. The way back is the bundle's inverse, where that stands beside it."""
    there, *back = load_pair(model)
    check_writable(output)
    g, *f = (bundle_translator(bundle, means.providers()) for bundle in (there, *back))
    others = _others(beside, means)
    translates = {there.direction: (g, f[0] if f else None)}
    return Judging({there.direction: (source, target)}, means).judge(translates, output, {"version": there.version.version}, others)


def _others(beside: Path | None, means: Means) -> dict[str, Translate]:
    return {bundle.direction: bundle_translator(bundle, means.providers()) for bundle in load_pair(beside)} if beside else {}


def _pictures(source: Path, target: Path, count: int) -> tuple[list[Pixels], list[Pixels], list[Pixels]]:
    """Test pictures of both domains, and training pictures of the target. Raises ConfigError."""
    own, wanted, trained = (_read(paths, count) for paths in (test_pictures(source), test_pictures(target), train_pictures(target)))
    if min(len(own), len(wanted), len(trained)) < 2:
        raise ConfigError("sets of pictures are compared, of two in each folder at least: add some")
    return own, wanted, trained


def _read(paths: list[Path], count: int) -> list[Pixels]:
    """At most `count`, evenly spread over a folder, where neighbours are often alike."""
    spread = [paths[i * len(paths) // count] for i in range(count)] if len(paths) > count else paths
    return read_pictures(spread, LARGEST_SHORTER_SIDE)
