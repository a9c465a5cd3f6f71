"""A run's figures: both directions judged on test pictures, written beside the checkpoint."""

import json
from pathlib import Path

import torch
from torch import nn

from training.checkpoints import load_generators
from training.data import Pixels, list_pictures, read_pictures, test_folder, to_pixels, to_tensor
from training.metrics import Translate, judge

EVALUATION = "evaluation.json"


def evaluate_run(run: Path, count: int) -> dict:
    """The figures of both directions over at most `count` pictures of each folder, also left in evaluation.json."""
    config, generators, step = load_generators(run)
    x, y = config.source, config.target
    tests = {domain: read_pictures(list_pictures(test_folder(domain))[:count]) for domain in (x, y)}
    trains = {domain: read_pictures(list_pictures(domain / "train")[:count]) for domain in (x, y)}
    g, f = translator(generators["G"]), translator(generators["F"])
    evaluation = {
        "steps": step,
        "directions": {
            config.direction: judge(g, f, tests[x], tests[y], trains[y]),
            config.inverse: judge(f, g, tests[y], tests[x], trains[x]),
        },
    }
    (run / EVALUATION).write_text(json.dumps(evaluation, indent=2) + "\n")
    return evaluation


def translator(generator: nn.Module) -> Translate:
    """The generator as a function of (n, h, w, 3) bytes, on the device that it is on."""
    device = next(generator.parameters()).device

    def translate(pixels: Pixels) -> Pixels:
        with torch.no_grad():
            return to_pixels(generator(to_tensor(pixels).to(device)))

    return translate
