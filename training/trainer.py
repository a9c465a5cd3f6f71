"""The loop around the training step: precision, rate, EMA, checkpoints, logs and samples, in one process or several."""

import math
import signal
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from training import distributed
from training.checkpoints import CHECKPOINT, CONFIG, check_resumable, load_checkpoint, save_checkpoint
from training.config import TrainingConfig
from training.cyclegan import CycleGAN, View
from training.data import batches, load_domains
from training.logs import RunLog
from training.objectives import HistoryPool
from training.sheets import read_samples, run_sheet
from training.starting import starting_weights
from training.teachers import Teacher


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
        self.rank, self.ranks = distributed.start()
        self.device = choose_device(config.device)
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and has_bf16(self.device))
        self.step = 0

        torch.manual_seed(config.seed)
        self.model = CycleGAN(config)
        if config.start:
            self.model.load_state_dict(self.model.state_dict() | starting_weights(config.start, config))
        self.memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model.to(self.device, memory_format=self.memory_format)  # type: ignore[call-overload]  # torch's stubs lack it
        self.generators = nn.ModuleDict({"G": self.model.G, "F": self.model.F})
        self.critics = nn.ModuleDict({"D_X": self.model.D_X, "D_Y": self.model.D_Y})
        self.ema = AveragedModel(self.generators, multi_avg_fn=self._average)
        self.generator_optimizer = self._optimizer(self.generators)
        self.critic_optimizer = self._optimizer(self.critics)
        self._state: dict[str, Any] = {
            "model": self.model,
            "ema": self.ema,
            "generator_optimizer": self.generator_optimizer,
            "critic_optimizer": self.critic_optimizer,
        }
        """What every process holds alike. A checkpoint holds it, and the configuration, the step, each process's pools, and
        the losses that no line of the log holds yet."""
        self.pool_x = HistoryPool(config.pool_size, 2 * (config.seed + self.rank))
        self.pool_y = HistoryPool(config.pool_size, 2 * (config.seed + self.rank) + 1)
        self._losses: list[dict[str, Tensor]] = []
        self._resume()
        self.teacher = Teacher(config, self.device)
        self._compile()
        self._stop = False

    def _optimizer(self, networks: nn.Module) -> torch.optim.Adam:
        config = self.config
        return torch.optim.Adam(networks.parameters(), lr=config.lr, betas=(config.beta1, 0.999), fused=True)

    def _compile(self) -> None:
        """Critics stay as they are where a penalty differentiates their gradients: the compiler cannot."""
        if self.config.compile:
            penalised = self.config.r1_gamma or self.model.objective.gradient_penalty
            for network in (*self.generators.values(), *(() if penalised else self.critics.values())):
                network.compile()

    @property
    def averaged(self) -> nn.ModuleDict:
        """The moving averages of the generators, "G" and "F"."""
        return cast(nn.ModuleDict, self.ema.module)

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.run)
        if checkpoint is not None:
            check_resumable(checkpoint, self.config, self.ranks)
            for name, part in self._state.items():
                part.load_state_dict(checkpoint[name])
            self.step = checkpoint["step"]
            for pool, state in zip((self.pool_x, self.pool_y), checkpoint["pools"][self.rank], strict=True):
                pool.load_state_dict(state)
            self._losses = [{name: part.to(self.device) for name, part in parts.items()} for parts in checkpoint["losses"]]

    def save(self) -> Path:
        """Write the checkpoint. Raises NonFiniteLoss, and leaves the one before, where the losses since the last line are not finite."""
        if self._losses:
            self._mean_losses()
        pools = distributed.gather((self.pool_x.state_dict(), self.pool_y.state_dict()))
        state = {name: part.state_dict() for name, part in self._state.items()}
        position = {"config": self.config.model_dump(mode="json"), "step": self.step, "pools": pools, "losses": self._losses}
        return save_checkpoint(self.run, position | state) if self.rank == 0 else self.run / CHECKPOINT

    def train(self) -> None:
        """Train until `steps`, or until Ctrl-C, after which the same command resumes."""
        config = self.config
        console = Console(soft_wrap=True, quiet=self.rank > 0)
        precision = "bf16" if self.bf16 else "fp32"
        console.print(f"{self.run}: step {self.step} of {config.steps} on {self.device} in {precision}, {self.ranks} process(es)")
        x, y = load_domains(config, self.rank, self.ranks)
        console.print(f"{len(x.pictures)} pictures of {config.source_domain}, {len(y.pictures)} of {config.target_domain}")
        samples = read_samples(config)
        log = RunLog(self.run, self.step) if self.rank == 0 else None
        if log:
            config.save(self.run / CONFIG)
        handlers = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with _progress(console) as progress:
                bar = progress.add_task("", total=config.steps, completed=self.step)
                for pair in batches(x, y, self.step, self.device):
                    if self.step >= config.steps or distributed.any_of(self._stop):
                        break
                    self._losses.append(self.train_step(*pair))
                    self.step += 1
                    progress.update(bar, completed=self.step)
                    if self._due(config.log_every):
                        means = self._mean_losses()
                        self._losses = []
                        progress.update(bar, description=_shown(means))
                        if log:
                            log.losses(self.step, config.lr_at(self.step - 1), means)
                    if log and self._due(config.sample_every):
                        log.sheet(self.step, run_sheet(dict(self.averaged.items()), samples))
                    if self.step % config.checkpoint_every == 0:
                        self.save()
            self.save()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if log:
                log.close()
        distributed.leave()
        ended = "done" if self.step >= config.steps else "stopped; the same command resumes"
        console.print(f"step {self.step} of {config.steps}: {ended} ({self.run / CHECKPOINT})")

    def train_step(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Both generators, then both critics; returns the parts of the losses, detached, still on the device."""
        config = self.config
        x, y = x.contiguous(memory_format=self.memory_format), y.contiguous(memory_format=self.memory_format)
        distributed.seed_step(config.seed, self.step, self.rank)
        for optimizer in (self.generator_optimizer, self.critic_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = config.lr_at(self.step)

        self.critics.requires_grad_(False)
        with self._autocast():
            with torch.no_grad():
                real_x, real_y = self.model.view(x), self.model.view(y)
            losses, fake_x, fake_y = self.model.generator_losses(real_x, real_y, self.teacher.lesson(x, y), measure=not self._losses)
        if self.step >= config.critic_warmup:
            self._update(self.generator_optimizer, self.generators, losses.total)
        self.ema.update_parameters(self.generators)

        self.critics.requires_grad_(True)
        r1_weight = config.r1_gamma * config.r1_every if self.step % config.r1_every == 0 else 0.0
        with self._autocast():
            fakes = self._from_pool(self.pool_x, fake_x), self._from_pool(self.pool_y, fake_y)
            critic_losses = self.model.critic_losses(real_x, real_y, *fakes, r1_weight)
        self._update(self.critic_optimizer, self.critics, critic_losses.total)
        return {name: part.detach() for name, part in (losses.parts | critic_losses.parts).items()}

    def _from_pool(self, pool: HistoryPool, fake: View) -> View:
        """Of translations, or of earlier ones in their place."""
        pixels = pool.exchange(fake.pixels)
        if pixels is fake.pixels:
            return fake
        with torch.no_grad():
            return self.model.view(pixels)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    @staticmethod
    def _update(optimizer: torch.optim.Optimizer, networks: nn.Module, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        distributed.average_gradients(networks)
        optimizer.step()

    def _average(self, averages: Any, currents: Any, count: Tensor | int) -> None:
        """The moving average takes in a step's weights; of the first steps more of each, so that it does not lag behind."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(averages, currents, 1 - decay)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _mean_losses(self) -> dict[str, float]:
        """The mean of each loss since the log's last line, over all processes, read only now, so that no step waits.
        Raises NonFiniteLoss."""
        names = list(self._losses[0])  # the first step's, which measures more than the others
        parts = [torch.stack([step[name] for step in self._losses if name in step]).mean() for name in names]
        values = distributed.average(torch.stack(parts))
        means = dict(zip(names, values.tolist(), strict=True))
        if not all(map(math.isfinite, means.values())):
            saved = self.run / CHECKPOINT
            good = f"the last good checkpoint is {saved}" if saved.exists() else "there is no checkpoint yet"
            raise NonFiniteLoss(f"a loss was not finite before step {self.step}: {means}; {good}. Try a lower lr, or precision=fp32.")
        return means

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
    return " ".join(f"{short} {means[x]:.2f} {means[y]:.2f}" for short, (x, y) in pairs.items() if x in means)
