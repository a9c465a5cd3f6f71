"""A run's or a bundle's figures: its directions judged on test pictures, with a sheet to look at."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import nn

from models.bundle import load_pair
from training.checkpoints import load_generators, with_folders
from training.config import ConfigError
from training.data import Pixels, read_pictures, test_pictures, train_pictures
from training.files import check_writable
from training.judging.features import EfficientNetLite0
from training.judging.figures import Judge, score
from training.judging.inception import load_inception
from training.judging.likeness import Translate
from training.perception import load_features
from training.sampling import bundle_translator, translator
from training.sheets import judging_sheet

EVALUATION = "evaluation.json"
LARGEST_SHORTER_SIDE = 512


@dataclass(frozen=True)
class Direction:
    """What is judged: where it leads from and to, and what translates there and, if anything does, back."""

    name: str
    source: Path
    target: Path
    there: Translate
    back: Translate | None


@dataclass(frozen=True)
class Means:
    """What directions are judged with: pictures of each folder at most, networks' files, and the device."""

    count: int = 100
    features: Path | None = None
    inception: Path | None = None
    device: str = "cpu"

    def providers(self) -> list[str]:
        """For ONNX Runtime."""
        return ["CUDAExecutionProvider", "CPUExecutionProvider"] if self.device.startswith("cuda") else ["CPUExecutionProvider"]

    def networks(self) -> dict[str, nn.Module]:
        """By the figure that each makes. Raises ConfigError for a file that holds no VGG-19."""
        networks: dict[str, nn.Module] = {"kid": EfficientNetLite0()}
        if self.features:
            vgg = load_features(str(self.features))
            networks["style"] = cast(nn.Module, vgg)
        return {key: network.to(self.device) for key, network in networks.items()}


def evaluate_run(
    run: Path, means: Means, *, source: Path | None = None, target: Path | None = None, best: bool = False, beside: Path | None = None
) -> dict:
    """The figures of both directions, also left in evaluation.json, with a sheet of each, `<direction>.jpg`, beside it.

    The pictures are those of the run's own domains, or of `source` and `target`; the weights the last, or the `best` that were kept.
    Sheets show `beside`, a bundle, too, or its way back. Pictures whose shorter side is above 512 pixels are shrunk to that.
    Raises ConfigError, BundleError.
    """
    trained, generators, step = load_generators(run, best)
    config = with_folders(trained, source, target)
    check_writable(run)
    x, y = config.source, config.target
    g, f = (translator(generators[name].to(means.device)) for name in ("G", "F"))
    directions = [Direction(config.direction, x, y, g, f), Direction(config.inverse, y, x, f, g)]
    return _evaluate(directions, means, run, {"steps": step}, beside)


def evaluate_bundle(model: Path, means: Means, source: Path, target: Path, output: Path, beside: Path | None = None) -> dict:
    """The same of a bundle's one direction, left in `output`. The way back is the bundle's inverse, where that stands beside it."""
    there, *back = load_pair(model)
    g, *f = (bundle_translator(bundle, means.providers()) for bundle in (there, *back))
    direction = Direction(there.direction, source, target, g, f[0] if f else None)
    return _evaluate([direction], means, output, {"version": there.version.version}, beside)


def _evaluate(directions: list[Direction], means: Means, output: Path, told: dict, beside: Path | None) -> dict:
    networks, inception = means.networks(), load_inception(means.inception) if means.inception else None
    figures = {}
    output.mkdir(parents=True, exist_ok=True)
    others = {bundle.direction: bundle_translator(bundle, means.providers()) for bundle in load_pair(beside)} if beside else {}
    for direction in directions:
        source, target, train = (
            _read(paths, means.count)
            for paths in (test_pictures(direction.source), test_pictures(direction.target), train_pictures(direction.target))
        )
        if min(map(len, (source, target, train))) < 2:
            raise ConfigError("sets of pictures are compared, of two in each folder at least: add some")
        judge = Judge(source, target, train, networks, inception)
        judged, translations = judge.figures(direction.there, direction.back)
        figures[direction.name] = judged | {"score": score(judged)}
        other = others.get(direction.name)
        (output / f"{direction.name}.jpg").write_bytes(judging_sheet(source, translations, other))
    evaluation = told | {"pictures": means.count, "directions": figures}
    (output / EVALUATION).write_text(json.dumps(evaluation, indent=2) + "\n")
    return evaluation


def _read(paths: list[Path], count: int) -> list[Pixels]:
    """At most `count`, evenly spread over a folder, where neighbours are often alike."""
    spread = [paths[i * len(paths) // count] for i in range(count)] if len(paths) > count else paths
    return read_pictures(spread, LARGEST_SHORTER_SIDE)
