"""Two small domains of real pictures, and a run so small that it takes seconds, with its bundles."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from tests.conftest import PICTURES
from training.__main__ import app
from training.checkpoints import load_checkpoint
from training.config import TrainingConfig, load_config
from training.trainer import Trainer

TINY = {
    "steps": 6,
    "ngf": 4,
    "n_blocks": 1,
    "ndf": 4,
    "n_layers": 2,
    "crop_size": 32,
    "load_size": [32, 48],
    "pool_size": 2,
    "checkpoint_every": 3,
    "sample_every": 3,
    "log_every": 2,
}


@pytest.fixture(scope="session")
def domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """day/ and dusk/, with train/ and test/: crops of photographs, and darker, redder crops of others."""
    root = tmp_path_factory.mktemp("domains")
    for domain, names, matrix in (
        ("day", ("china", "flower"), (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)),
        ("dusk", ("coffee", "chelsea"), (0.9, 0, 0, 20, 0, 0.5, 0, 0, 0, 0, 0.4, 0)),
    ):
        for part, offset in (("train", 0), ("test", 30)):
            (root / domain / part / "nested").mkdir(parents=True)
            for name in names:
                with Image.open(PICTURES / f"{name}.jpg") as picture:
                    for i in range(4):
                        crop = picture.crop((60 * i + offset, 50, 60 * i + offset + 72, 50 + 64)).convert("RGB", matrix)
                        crop.save(root / domain / part / ("nested" if i % 2 else ".") / f"{name}{i}.png")
    return root / "day", root / "dusk"


def tiny_config(domains: tuple[Path, Path], **fields: Any) -> TrainingConfig:
    return load_config("paper", source=domains[0], target=domains[1], **(TINY | fields))


def run_command(*arguments: object) -> None:
    """`python -m training` with these arguments, in this process: starting one takes longer than most commands."""
    app(list(map(str, arguments)), standalone_mode=False)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "training", *map(str, arguments)]


def train_command(domains: tuple[Path, Path], run: Path, **fields: Any) -> list[str]:
    settings = [part for name, value in (TINY | fields).items() for part in ("--set", f"{name}={value}")]
    return command("train", "--preset", "paper", "--source", domains[0], "--target", domains[1], "--run", run, *settings)


def vgg_weights() -> dict[str, torch.Tensor]:
    """Of torchvision's layout and size, at random."""
    torch.manual_seed(0)
    sizes = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256)}
    convolutions = {index: nn.Conv2d(*channels, 3) for index, channels in sizes.items()}
    return {f"features.{index}.{name}": w.detach() for index, conv in convolutions.items() for name, w in conv.named_parameters()}


def weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = load_checkpoint(run)
    assert checkpoint is not None
    return checkpoint["ema"] | checkpoint["model"]


@pytest.fixture(scope="session")
def finished_run(domains: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that went through all of its steps."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    Trainer(tiny_config(domains), run).train()
    return run


def earlier_version(run: Path, copy: Path) -> Path:
    """A copy of a run whose checkpoint is of an earlier version of the program."""
    checkpoint = load_checkpoint(shutil.copytree(run, copy))
    assert checkpoint is not None
    for later in ("data", "records", "scaler"):
        del checkpoint[later]
    del checkpoint["config"]["features"]
    torch.save(checkpoint, copy / "checkpoint.pt")
    return copy


@pytest.fixture(scope="session")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that run's bundles, judged before."""
    root = tmp_path_factory.mktemp("exported")
    run = shutil.copytree(finished_run, root / "run")
    run_command("evaluate", "--run", run, "--count", 4)
    told = ("--pictures", PICTURES, "--about", "Crops.", "--licence", "CC0")
    run_command("export", "--run", run, "--models", root / "models", *told)
    return root / "models"
