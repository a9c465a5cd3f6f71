"""A run's figures: both directions judged on test pictures, written beside the checkpoint."""

import json
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from models.padding import pad
from training.checkpoints import load_generators, with_folders
from training.config import ConfigError
from training.data import Pixels, read_pictures, test_pictures, to_pixels, to_tensor, train_pictures
from training.files import check_writable
from training.generators import Generator
from training.metrics import Translate, judge, load_inception

EVALUATION = "evaluation.json"
LARGEST_SHORTER_SIDE = 512


def evaluate_run(
    run: Path, count: int, inception: Path | None = None, *, source: Path | None = None, target: Path | None = None, best: bool = False
) -> dict:
    """The figures of both directions over at most `count` pictures of each folder, evenly spread, also left in evaluation.json: of the
    run's domains, or of `source` and `target` where their pictures lie elsewhere now; on a GPU where there is one.

    Pictures whose shorter side is above 512 pixels are shrunk to that. FID and KID are among the figures where
    `inception` names the network's TorchScript file. Raises ConfigError.
    """
    trained, generators, step = load_generators(run, best)
    config = with_folders(trained, source, target)
    check_writable(run)
    for generator in generators.values():
        generator.to("cuda" if torch.cuda.is_available() else "cpu")
    network = load_inception(inception) if inception else None
    x, y = config.source, config.target
    tests = {domain: _read(test_pictures(domain), count) for domain in (x, y)}
    trains = {domain: _read(train_pictures(domain), count) for domain in (x, y)}
    if network and min(map(len, (*tests.values(), *trains.values()))) < 2:
        raise ConfigError("FID and KID compare two pictures of each folder at least: add some, or leave --inception out")
    g, f = translator(generators["G"]), translator(generators["F"])
    evaluation = {
        "steps": step,
        "directions": {
            config.direction: judge(g, f, tests[x], tests[y], trains[y], network),
            config.inverse: judge(f, g, tests[y], tests[x], trains[x], network),
        },
    }
    (run / EVALUATION).write_text(json.dumps(evaluation, indent=2) + "\n")
    return evaluation


def _read(paths: list[Path], count: int) -> list[Pixels]:
    """At most `count`, evenly spread over a folder, where neighbours are often alike."""
    spread = [paths[i * len(paths) // count] for i in range(count)] if len(paths) > count else paths
    return read_pictures(spread, LARGEST_SHORTER_SIDE)


def translator(generator: nn.Module) -> Translate:
    """The generator as a function of (n, h, w, 3) bytes of any size, on the device that it is on."""
    network = cast(Generator, generator)
    device = next(network.parameters()).device

    def translate(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[1:3]
        padded = np.stack([pad(picture, network.multiple, network.smallest_side) for picture in pixels])
        with torch.no_grad():
            return to_pixels(network(to_tensor(padded).to(device)))[:, :height, :width]

    return translate
