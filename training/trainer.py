"""The loop around the training step: precision, rate, EMA, checkpoints, logs and samples, in one process or several."""

import math
import signal
from contextlib import suppress
from pathlib import Path
from statistics import mean
from types import FrameType
from typing import Any, cast

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from training import distributed
from training.checkpoints import (
    BEST,
    CHECKPOINT,
    check_pictures,
    check_resumable,
    existing_checkpoint,
    load_checkpoint,
    not_written,
    save_checkpoint,
)
from training.config import CONFIG, ConfigError, TrainingConfig
from training.cyclegan import CycleGAN, View
from training.data import Domain, batches, load_domains
from training.evaluation import Means, evaluate_run
from training.files import whole
from training.logs import RunLog
from training.objectives import HistoryPool
from training.records import records
from training.sheets import read_samples, run_sheet
from training.starting import starting_weights
from training.teachers import Teacher

Pair = tuple[View, View]
"""Of pictures of both domains, or of translations to both."""


class NonFiniteLoss(RuntimeError):
    """A loss became infinite or NaN; the message names the last good checkpoint."""


def choose_device(name: str) -> torch.device:
    """`auto`: CUDA where it is there, else the CPU. Raises ConfigError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
        return device
    except Exception as error:  # each device has its own
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"device: {name} cannot be used here ({reason}): leave device=auto, or name cpu") from None


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto`: bf16 where the processor itself computes in it, since emulated bf16 is slower than fp32; else fp16 on GPUs, fp32 on CPUs."""
    if name != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else torch.float32


class Trainer:
    """One run in its folder: made new, or from the folder's checkpoint where there is one; with other pictures or settings than that
    has only where `force` says so."""

    def __init__(self, config: TrainingConfig, run: Path, force: bool = False) -> None:
        self.config = config
        self.run = run
        self.force = force
        self.rank, self.ranks = distributed.start()
        self.device = choose_device(config.device)
        self.dtype = choose_precision(config.precision, self.device)
        self.step = 0
        self.changes: list[str] = []
        """What of the configuration is other than the checkpoint's."""

        checkpoint = load_checkpoint(run)
        if checkpoint:
            self.changes = check_resumable(checkpoint, config, self.ranks, force)
        torch.manual_seed(config.seed)
        self.model = CycleGAN(config)
        if config.start and not checkpoint:
            self.model.load_state_dict(self.model.state_dict() | starting_weights(config.start, config))
        self.memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model.to(self.device, memory_format=self.memory_format)  # type: ignore[call-overload]  # torch's stubs lack it
        self.generators = nn.ModuleDict({"G": self.model.G, "F": self.model.F})
        self.critics = nn.ModuleDict({"D_X": self.model.D_X, "D_Y": self.model.D_Y})
        self.ema = AveragedModel(self.generators, multi_avg_fn=self._average)
        self.generator_optimizer = self._optimizer(self.generators)
        self.critic_optimizer = self._optimizer(self.critics)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self._state: dict[str, Any] = {
            "model": self.model,
            "ema": self.ema,
            "generator_optimizer": self.generator_optimizer,
            "critic_optimizer": self.critic_optimizer,
            "scaler": self.scaler,
        }
        """What every process holds alike. A checkpoint holds it, and the configuration, the step, each process's pools,
        the losses that no line of the log holds yet, and what the pictures are."""
        self.pool_x = HistoryPool(config.pool_size, 2 * (config.seed + self.rank))
        self.pool_y = HistoryPool(config.pool_size, 2 * (config.seed + self.rank) + 1)
        self._losses: list[dict[str, Tensor]] = []
        self._data: dict[str, dict[str, Any]] = {}
        if checkpoint:
            self._resume(checkpoint)
        self.teacher = Teacher(config, self.device)
        self._compile()
        self._generator_losses = distributed.share(self.generators, self.model.generator_losses)
        self._critic_losses = distributed.share(self.critics, self.model.critic_losses)
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

    def _resume(self, checkpoint: dict[str, Any]) -> None:
        for name, part in self._state.items():
            if saved := checkpoint.get(name):  # the scaler has no state where it scales nothing
                part.load_state_dict(saved)
        for optimizer in (self.generator_optimizer, self.critic_optimizer):
            for group in optimizer.param_groups:
                group["betas"] = (self.config.beta1, 0.999)
        self.step = checkpoint["step"]
        pools = checkpoint["pools"]
        for pool, state in zip((self.pool_x, self.pool_y), pools[self.rank % len(pools)], strict=True):
            kept = [picture for picture in state["pictures"] if picture.shape[-1] == self.config.crop_size]
            pool.load_state_dict(state | {"pictures": kept[: self.config.pool_size]})
        self._losses = [{name: part.to(self.device) for name, part in parts.items()} for parts in checkpoint["losses"]]
        self._data = checkpoint.get("data", {})

    def _look_at(self, *domains: tuple[str, Domain]) -> None:
        """Raises ConfigError where the pictures are others than those that the run was begun with."""
        found = {name: {"pictures": domain.listed, "sha256": domain.fingerprint} for name, domain in domains}
        check_pictures(self._data, found, self.force)
        self._data = found

    def save(self) -> Path:
        """Write the checkpoint. Raises NonFiniteLoss, and leaves the one before, where the losses since the last line are not finite."""
        if self._losses:
            self._mean_losses()
        pools = distributed.gather((self.pool_x.state_dict(), self.pool_y.state_dict()))
        state = {name: part.state_dict() for name, part in self._state.items()}
        position = {"config": self.config.model_dump(mode="json"), "step": self.step, "pools": pools, "losses": self._losses}
        origin = {"data": self._data, "records": records()}
        return save_checkpoint(self.run, position | state | origin) if self.rank == 0 else self.run / CHECKPOINT

    def train(self) -> None:
        """Train until `steps`, or until Ctrl-C, after which the same command resumes."""
        config = self.config
        console = Console(soft_wrap=True, quiet=self.rank > 0)
        precision = str(self.dtype).removeprefix("torch.")
        console.print(f"{self.run}: step {self.step} of {config.steps} on {self.device} in {precision}, {self.ranks} process(es)")
        if self.changes:
            console.print(f"changed since the checkpoint: {'; '.join(self.changes)}")
        x, y = load_domains(config, self.rank, self.ranks, self.device)
        self._look_at((config.source_domain, x), (config.target_domain, y))
        console.print(f"{x.listed} pictures of {config.source_domain}, {y.listed} of {config.target_domain}")
        samples = read_samples(config)
        log: RunLog | None = None
        handlers = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            if self.rank == 0:
                log = RunLog(self.run, self.step)
                with whole(self.run / CONFIG) as file:
                    file.write(config.to_yaml().encode())
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
                    judged = config.evaluate_every and self._due(config.evaluate_every)
                    if self.step % config.checkpoint_every == 0 or judged:
                        self.save()
                    if log and judged:
                        log.evaluation(self.step, self._evaluate())
            self.save()
        except OSError as error:
            raise not_written(self.run, error) from None
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if log:
                with suppress(OSError):  # which was told already, unless it is of no more than the curves
                    log.close()
        distributed.leave()
        ended = "done" if self.step >= config.steps else "stopped; the same command resumes"
        console.print(f"step {self.step} of {config.steps}: {ended} ({self.run / CHECKPOINT})")

    def _evaluate(self) -> dict[str, dict[str, Any]]:
        """The figures of the checkpoint that was just saved, by direction; it is kept as the best where none before was better."""
        features = None if self.config.features in ("none", "vgg19") else Path(self.config.features)
        evaluation = evaluate_run(self.run, Means(self.config.evaluate_count, features, device=str(self.device)))
        score, best = mean(each["score"] for each in evaluation["directions"].values()), load_checkpoint(self.run, BEST)
        if not best or score > best["score"]:
            saved = existing_checkpoint(self.run)
            kept = {name: saved[name] for name in ("config", "step", "ema", "data", "records")}
            save_checkpoint(self.run, kept | {"evaluation": evaluation, "score": score}, BEST)
        return evaluation["directions"]

    def train_step(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Both generators, then both critics; returns the parts of the losses, detached, still on the device."""
        config = self.config
        x, y = x.contiguous(memory_format=self.memory_format), y.contiguous(memory_format=self.memory_format)
        distributed.seed_step(config.seed, self.step, self.rank)
        for optimizer, lr in ((self.generator_optimizer, config.lr), (self.critic_optimizer, config.critic_lr)):
            for group in optimizer.param_groups:
                group["lr"] = config.lr_at(self.step, lr)

        pairs = [self._views(*pair) for pair in zip(x.split(config.batch_size), y.split(config.batch_size), strict=True)]
        parts, fakes = self._train_generators(pairs) if self.step % config.n_critic == 0 else ([], self._translated(pairs))
        self.ema.update_parameters(self.generators)
        parts += self._train_critics(pairs, fakes)
        self.scaler.update()
        names = dict.fromkeys(name for each in parts for name in each)
        return {name: torch.stack([each[name].detach() for each in parts if name in each]).mean() for name in names}

    def _views(self, x: Tensor, y: Tensor) -> Pair:
        with self._autocast(), torch.no_grad():
            return self.model.view(x), self.model.view(y)

    def _train_generators(self, pairs: list[Pair]) -> tuple[list[dict[str, Tensor]], list[Pair]]:
        """A step on pairs of x and y. Returns the parts of the losses, and F(y) and G(x), a pair each."""
        self.critics.requires_grad_(False)
        learns = self.step >= self.config.critic_warmup
        parts, fakes = [], []
        for number, (x, y) in enumerate(pairs):
            with distributed.accumulating(self._generator_losses, is_last=number == len(pairs) - 1):
                with self._autocast():
                    lesson, measure = self.teacher.lesson(x.pixels, y.pixels), number == 0 and not self._losses
                    losses, fake_x, fake_y = self._generator_losses(x, y, lesson, measure)
                if learns:
                    self.scaler.scale(losses.total / len(pairs)).backward()
            parts.append(losses.parts)
            fakes.append((fake_x, fake_y))
        if learns:
            self._update(self.generator_optimizer)
        self.critics.requires_grad_(True)
        return parts, fakes

    def _translated(self, pairs: list[Pair]) -> list[Pair]:
        """F(y) and G(x) of pairs of x and y, with no gradient."""
        with self._autocast(), torch.no_grad():
            return [(self.model.view(self.model.F(y.pixels)), self.model.view(self.model.G(x.pixels))) for x, y in pairs]

    def _train_critics(self, pairs: list[Pair], fakes: list[Pair]) -> list[dict[str, Tensor]]:
        """A step on pairs of x and y, and of their translations or earlier ones in their place. Returns the parts of the losses."""
        config = self.config
        r1_weight = config.r1_gamma * config.r1_every if self.step % config.r1_every == 0 else 0.0
        parts = []
        for number, ((x, y), (fake_x, fake_y)) in enumerate(zip(pairs, fakes, strict=True)):
            with distributed.accumulating(self._critic_losses, is_last=number == len(pairs) - 1):
                with self._autocast():
                    pooled = self._from_pool(self.pool_x, fake_x), self._from_pool(self.pool_y, fake_y)
                    losses = self._critic_losses(x, y, *pooled, r1_weight)
                self.scaler.scale(losses.total / len(pairs)).backward()
            parts.append(losses.parts)
        self._update(self.critic_optimizer)
        return parts

    def _from_pool(self, pool: HistoryPool, fake: View) -> View:
        """Of translations, or of earlier ones in their place."""
        pixels = pool.exchange(fake.pixels)
        if pixels is fake.pixels:
            return fake
        with torch.no_grad():
            return self.model.view(pixels)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _update(self, optimizer: torch.optim.Optimizer) -> None:
        self.scaler.step(optimizer)
        optimizer.zero_grad()

    def _average(self, averages: Any, currents: Any, count: Tensor | int) -> None:
        """The moving average takes in a step's weights; of the first steps more of each, so that it does not lag behind."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(averages, currents, 1 - decay)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _mean_losses(self) -> dict[str, float]:
        """The mean of each loss since the log's last line, over all processes, read only now, so that no step waits.
        Raises NonFiniteLoss."""
        names = list(dict.fromkeys(name for step in self._losses for name in step))
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
