"""The loop around the training step: precision, rate, EMA, checkpoints, logs and samples."""

import csv
import math
import signal
from pathlib import Path
from types import FrameType
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.checkpoints import CHECKPOINT, CONFIG, check_resumable, load_checkpoint, save_checkpoint
from training.config import TrainingConfig
from training.cyclegan import CycleGAN
from training.data import load_domains
from training.objectives import HistoryPool
from training.sheets import read_samples, run_sheet


class NonFiniteLoss(RuntimeError):
    """A loss became infinite or NaN; the message names the last good checkpoint."""


def choose_device(name: str) -> torch.device:
    """`auto`: CUDA where it is there, else the CPU."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def has_bf16(device: torch.device) -> bool:
    """Whether the processor itself computes in bf16; emulated bf16 is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


class Trainer:
    """One run in its folder: made new, or from the folder's checkpoint where there is one."""

    def __init__(self, config: TrainingConfig, run: Path) -> None:
        self.config = config
        self.run = run
        self.device = choose_device(config.device)
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and has_bf16(self.device))
        self.step = 0

        torch.manual_seed(config.seed)
        self.model = CycleGAN(config).to(self.device)
        self.generators = nn.ModuleDict({"G": self.model.G, "F": self.model.F})
        self.critics = nn.ModuleDict({"D_X": self.model.D_X, "D_Y": self.model.D_Y})
        self.ema = AveragedModel(self.generators, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
        self.generator_optimizer = self._optimizer(self.generators)
        self.critic_optimizer = self._optimizer(self.critics)
        self.pool_x = HistoryPool(config.pool_size, config.seed)
        self.pool_y = HistoryPool(config.pool_size, config.seed + 1)
        self._state: dict[str, Any] = {
            "model": self.model,
            "ema": self.ema,
            "generator_optimizer": self.generator_optimizer,
            "critic_optimizer": self.critic_optimizer,
            "pool_x": self.pool_x,
            "pool_y": self.pool_y,
        }
        """All that a checkpoint holds, beside the configuration and the step."""
        self._resume()
        self._losses: list[dict[str, Tensor]] = []
        self._stop = False

    def _optimizer(self, networks: nn.Module) -> torch.optim.Adam:
        config = self.config
        return torch.optim.Adam(networks.parameters(), lr=config.lr, betas=(config.beta1, 0.999), fused=True)

    @property
    def averaged(self) -> nn.ModuleDict:
        """The moving averages of the generators, "G" and "F"."""
        return cast(nn.ModuleDict, self.ema.module)

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.run)
        if checkpoint is not None:
            check_resumable(checkpoint["config"], self.config)
            for name, part in self._state.items():
                part.load_state_dict(checkpoint[name])
            self.step = checkpoint["step"]
        (self.run / "samples").mkdir(parents=True, exist_ok=True)
        self.config.save(self.run / CONFIG)

    def save(self) -> Path:
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._state.items()}
        return save_checkpoint(self.run, {"config": self.config.model_dump(mode="json"), "step": self.step} | state)

    def train(self) -> None:
        """Train until `steps`, or until Ctrl-C, after which the same command resumes."""
        console = Console(soft_wrap=True)
        precision = "bf16" if self.bf16 else "fp32"
        console.print(f"{self.run}: step {self.step} of {self.config.steps} on {self.device} in {precision}")
        x, y = load_domains(self.config)
        console.print(f"{len(x.pictures)} pictures of {self.config.source_domain}, {len(y.pictures)} of {self.config.target_domain}")
        samples = read_samples(self.config)
        handlers = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with _progress(console) as progress:
                bar = progress.add_task("", total=self.config.steps, completed=self.step)
                while self.step < self.config.steps and not self._stop:
                    self._losses.append(self.train_step(x.batch(self.step), y.batch(self.step)))
                    self.step += 1
                    progress.update(bar, completed=self.step)
                    if self._due(self.config.log_every):
                        progress.update(bar, description=self._log_losses())
                    if self._due(self.config.sample_every):
                        (self.run / "samples" / f"{self.step:07d}.jpg").write_bytes(run_sheet(dict(self.averaged.items()), samples))
                    if self.step % self.config.checkpoint_every == 0:
                        self.save()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self.save()
        ended = "done" if self.step >= self.config.steps else "stopped; the same command resumes"
        console.print(f"step {self.step} of {self.config.steps}: {ended} ({self.run / CHECKPOINT})")

    def train_step(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Both generators, then both critics; returns the parts of the losses, detached, still on the device."""
        x, y = x.to(self.device), y.to(self.device)
        for optimizer in (self.generator_optimizer, self.critic_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = self.config.lr_at(self.step)

        self.critics.requires_grad_(False)
        with self._autocast():
            loss, parts, fake_y, fake_x = self.model.generator_losses(x, y)
        self._update(self.generator_optimizer, loss)
        self.ema.update_parameters(self.generators)

        self.critics.requires_grad_(True)
        fake_x, fake_y = self.pool_x.exchange(fake_x), self.pool_y.exchange(fake_y)
        with self._autocast():
            loss, critic_parts = self.model.critic_losses(x, y, fake_x, fake_y)
        self._update(self.critic_optimizer, loss)
        return {name: part.detach() for name, part in (parts | critic_parts).items()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    @staticmethod
    def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _log_losses(self) -> str:
        """A line of losses.csv: means since the last line, read only now, so that no step waits. Raises NonFiniteLoss."""
        means = {name: float(torch.stack([parts[name] for parts in self._losses]).mean()) for name in self._losses[0]}
        self._losses = []
        if not all(map(math.isfinite, means.values())):
            saved = self.run / CHECKPOINT
            good = f"the last good checkpoint is {saved}" if saved.exists() else "there is no checkpoint yet"
            raise NonFiniteLoss(f"a loss was not finite before step {self.step}: {means}; {good}. Try a lower lr, or precision=fp32.")
        path = self.run / "losses.csv"
        begun = path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if not begun:
                writer.writerow(["step", "lr", *means])
            writer.writerow([self.step, f"{self.config.lr_at(self.step - 1):.3g}", *(f"{mean:.5f}" for mean in means.values())])
        return _shown(means)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """The first signal ends the run after the step; the second ends it at once."""
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True


def _progress(console: Console) -> Progress:
    """Narrow enough for a terminal of 80 columns."""
    return Progress(BarColumn(8), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"), console=console)


def _shown(means: dict[str, float]) -> str:
    pairs = {"G": ("G", "F"), "cyc": ("cycle_X", "cycle_Y"), "idt": ("identity_X", "identity_Y"), "D": ("D_X", "D_Y")}
    return " ".join(f"{short} {means[x]:.2f} {means[y]:.2f}" for short, (x, y) in pairs.items())


def read_losses(run: Path) -> list[dict[str, float]]:
    """The lines of a run's losses.csv, oldest first; after a resume the newer line of a step counts."""
    path = run / "losses.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        lines = {int(line["step"]): {name: float(value) for name, value in line.items()} for line in csv.DictReader(file)}
    return [lines[step] for step in sorted(lines)]


def mean_losses(lines: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each loss over `lines`."""
    names = [name for name in lines[0] if name not in ("step", "lr")]
    return {name: float(np.mean([line[name] for line in lines])) for name in names}
