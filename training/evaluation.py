"""Evaluation of a run or a bundle on test pictures: the figures of each direction, and a sheet to look at."""

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
from training.files import check_writable, write_atomic
from training.judging.features import EfficientNetLite0
from training.judging.figures import Judge, score
from training.judging.inception import load_inception
from training.judging.likeness import Translate, load_lpips
from training.perception import load_features
from training.sampling import bundle_translator, translator
from training.sheets import judging_sheet

EVALUATION = "evaluation.json"
LARGEST_SHORTER_SIDE = 512

Translators = Mapping[str, tuple[Translate, Translate | None]]
"""By direction: a function that translates there, and one that translates back if there is one."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How many pictures of each folder are used at most, which networks besides EfficientNet, and the device."""

    count: int = 100
    features: Path | None = None
    inception: Path | None = None
    lpips: bool = False
    device: str = "cpu"


class Evaluator:
    """Evaluates directions. `folders` has the source and target folder of each direction; their pictures are read and analyzed once.
    `vgg` replaces the features of the options if that network is loaded already."""

    def __init__(self, folders: Mapping[str, tuple[Path, Path]], options: EvaluationOptions, vgg: nn.Module | None = None) -> None:
        self.options = options
        networks: dict[str, nn.Module] = {"kid": EfficientNetLite0()}
        if vgg or options.features:
            networks["style"] = vgg or cast(nn.Module, load_features(str(options.features)))
        networks = {key: network.to(options.device) for key, network in networks.items()}
        optional = load_inception(options.inception) if options.inception else None, load_lpips() if options.lpips else None
        self._judges = {
            direction: Judge(*_read_sets(source, target, options.count), networks, *optional)
            for direction, (source, target) in folders.items()
        }

    def evaluate(
        self, translators: Translators, output: Path, metadata: dict[str, Any], others: Mapping[str, Translate] | None = None
    ) -> dict[str, Any]:
        """Return the metadata and the figures of each direction, and write them to evaluation.json in `output`, with a sheet of each.
        The sheets also show the translations of `others`, by direction."""
        output.mkdir(parents=True, exist_ok=True)
        directions = {}
        for direction, (there, back) in translators.items():
            judge = self._judges[direction]
            figures, translations = judge.figures(there, back)
            directions[direction] = figures | {"score": score(figures)}
            write_atomic(output / f"{direction}.jpg", judging_sheet(judge.source, translations, (others or {}).get(direction)))
        evaluation = metadata | {"pictures": self.options.count, "directions": directions}
        write_atomic(output / EVALUATION, json.dumps(evaluation, indent=2).encode() + b"\n")
        return evaluation


def run_folders(config: TrainingConfig) -> dict[str, tuple[Path, Path]]:
    """Return the source and target folder of both directions of a run."""
    return {config.direction: (config.source, config.target), config.inverse: (config.target, config.source)}


def run_translators(config: TrainingConfig, generators: Mapping[str, nn.Module]) -> Translators:
    """Return translators for both directions of a run, from its generators "G" and "F", on their device."""
    g, f = (translator(generators[name]) for name in "GF")
    return {config.direction: (g, f), config.inverse: (f, g)}


def evaluate_run(
    run: Path, options: EvaluationOptions, *, source: Path | None = None, target: Path | None = None, output: Path | None = None,
    best: bool = False, beside: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Evaluate both directions of a run, and write the results to `output`, or else to the run's folder, as `Evaluator.evaluate` does.

    Uses the run's own pictures unless `source` and `target` are given, and its last weights unless `best` is set. Pictures whose shorter
    side is above 512 pixels are shrunk to that. The sheets also show the translations of the bundle `beside`, or of its inverse.
    Raises ConfigError, BundleError.
    """
    trained, generators, step = load_generators(run, best)
    config = with_folders(trained, source, target)
    check_writable(output or run)
    others = _bundle_translators(beside, options) if beside else {}
    translators = run_translators(config, {name: network.to(options.device) for name, network in generators.items()})
    return Evaluator(run_folders(config), options).evaluate(translators, output or run, {"steps": step}, others)


def evaluate_bundle(
    model: Path, options: EvaluationOptions, source: Path, target: Path, output: Path, beside: Path | None = None
) -> dict[str, Any]:
    """Evaluate one bundle in the same way. The inverse bundle translates back if it is in the same folder."""
    bundle = load_pair(model)[0]
    check_writable(output)
    there, *back = _bundle_translators(model, options).values()
    others = _bundle_translators(beside, options) if beside else {}
    evaluator = Evaluator({bundle.direction: (source, target)}, options)
    translators = {bundle.direction: (there, back[0] if back else None)}
    return evaluator.evaluate(translators, output, {"version": bundle.version.version}, others)


def _bundle_translators(model: Path, options: EvaluationOptions) -> dict[str, Translate]:
    """Return translators for a bundle's direction and for its inverse if there is one, by direction."""
    return {bundle.direction: bundle_translator(bundle, options.device) for bundle in load_pair(model)}


def _read_sets(source: Path, target: Path, count: int) -> tuple[list[Pixels], list[Pixels], list[Pixels]]:
    """Return test pictures of both domains and training pictures of the target, at most `count` of each. Raises ConfigError."""
    sets = []
    for paths in (test_pictures(source), test_pictures(target), train_pictures(target)):
        # Evenly spread over the folder, since neighbors are often alike.
        spread = [paths[i * len(paths) // count] for i in range(count)] if len(paths) > count else paths
        sets.append(read_pictures(spread, LARGEST_SHORTER_SIDE))
    if min(map(len, sets)) < 2:
        raise ConfigError("an evaluation compares sets of pictures, and needs at least two in each folder: add some")
    return sets[0], sets[1], sets[2]
