"""`python -m benchmarks.training`: steps per second of the trainer, compared with a straightforward training step."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from training.config import TrainingConfig, load_config
from training.cyclegan import CycleGAN
from training.data import Domain
from training.devices import choose_device
from training.objectives import HistoryPool
from training.trainer import Trainer

Step = Callable[[Tensor, Tensor], Any]

TRAINERS: dict[str, dict[str, Any]] = {
    "trainer, fp32": {"precision": "fp32"},
    "trainer, bf16": {"precision": "bf16"},
    "trainer, bf16, channels_last": {"precision": "bf16", "channels_last": True},
    "trainer, bf16, compiled": {"precision": "bf16", "compile": True},
    "trainer, bf16, channels_last, compiled": {"precision": "bf16", "channels_last": True, "compile": True},
}


def main(
    preset: Annotated[str, typer.Option(help="lite or standard.")] = "lite",
    steps: Annotated[int, typer.Option(min=1, help="Steps that each contender takes in each round.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Each contender's best round counts.")] = 4,
    device: Annotated[str, typer.Option(help="A torch device, or auto: CUDA if it is available.")] = "auto",
) -> None:
    """Compare training steps on noise, which takes as long as on real pictures."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(preset, source=Path(folder) / "x", target=Path(folder) / "y", device=device, flip=False)
        contenders: dict[str, Step] = {"plain, fp32": plain_step(config)}
        for name, fields in TRAINERS.items():
            learner = Trainer(TrainingConfig(**(config.model_dump() | fields)), Path(folder) / "run").learner
            contenders[name] = partial(learner.train_step, step=0)
        seconds = measure(contenders, batch(config), steps, rounds)
    table = Table("step", title=f"{preset} at {config.crop_size} pixels on {_processor(choose_device(device))}, torch {torch.__version__}")
    for column in ("steps a second", "times plain"):
        table.add_column(column, justify="right")
    for name, best in seconds.items():
        table.add_row(name, f"{1 / best:.2f}", f"{seconds['plain, fp32'] / best:.2f}")
    Console().print(table)


def measure(contenders: dict[str, Step], pair: tuple[Tensor, Tensor], steps: int, rounds: int) -> dict[str, float]:
    """Return the seconds per step in each contender's best round. They take turns; the first round compiles and does not count."""
    best = dict.fromkeys(contenders, float("inf"))
    for number in range(rounds + 1):
        for name, step in contenders.items():
            seconds = _seconds(step, pair, steps if number else 3)
            best[name] = min(best[name], seconds) if number else best[name]
    return best


def _seconds(step: Step, pair: tuple[Tensor, Tensor], steps: int) -> float:
    synchronize = torch.cuda.synchronize if pair[0].is_cuda else lambda: None
    synchronize()
    started_at = time.perf_counter()
    for _ in range(steps):
        step(*pair)
    synchronize()
    return (time.perf_counter() - started_at) / steps


def batch(config: TrainingConfig) -> tuple[Tensor, Tensor]:
    """Return a batch of noise for each domain."""
    side = config.load_size[1]
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8))
    return tuple(Domain(pictures, config, stream).batch(0).to(choose_device(config.device)) for stream in (0, 1))  # type: ignore[return-value]


def plain_step(config: TrainingConfig) -> Step:
    """Return a training step as in the paper: one network call after the other, in fp32, with torch's defaults."""
    model = CycleGAN(config).to(choose_device(config.device))
    pool_x, pool_y = HistoryPool(config.pool_size, 0), HistoryPool(config.pool_size, 1)
    generators = torch.optim.Adam([*model.G.parameters(), *model.F.parameters()], config.lr, (config.beta1, 0.999))
    critics = torch.optim.Adam([*model.D_X.parameters(), *model.D_Y.parameters()], config.lr, (config.beta1, 0.999))

    def step(x: Tensor, y: Tensor) -> None:
        model.D_X.requires_grad_(False)
        model.D_Y.requires_grad_(False)
        fake_y, fake_x = model.G(x), model.F(y)
        adversarial = (model.D_Y(fake_y) - 1).square().mean() + (model.D_X(fake_x) - 1).square().mean()
        cycle = (model.F(fake_y) - x).abs().mean() + (model.G(fake_x) - y).abs().mean()
        identity = (model.G(y) - y).abs().mean() + (model.F(x) - x).abs().mean()
        generators.zero_grad()
        (adversarial + config.lambda_cycle[0] * (cycle + config.lambda_identity[0] * identity)).backward()
        generators.step()

        model.D_X.requires_grad_(True)
        model.D_Y.requires_grad_(True)
        critics.zero_grad()
        for critic, real, fake in (
            (model.D_X, x, pool_x.exchange(fake_x.detach())),
            (model.D_Y, y, pool_y.exchange(fake_y.detach())),
        ):
            (0.5 * (critic(real) - 1).square().mean() + 0.5 * critic(fake).square().mean()).backward()
        critics.step()

    return step


def _processor(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"the CPU, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    typer.run(main)
