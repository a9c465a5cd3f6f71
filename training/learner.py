"""The state that training changes, and one training step: networks, optimizers, moving average and history pools."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from training import distributed
from training.config import TrainingConfig
from training.cyclegan import CycleGAN, View
from training.objectives import HistoryPool
from training.teachers import Teacher

Pair = tuple[View, View]
"""A picture batch of each domain (x, y), or the translations into each domain (fake_x, fake_y)."""


class Learner:
    """Networks initialized from the configuration's seed, and the means to train them. Computes under autocast unless `dtype` is fp32."""

    def __init__(self, config: TrainingConfig, device: torch.device, dtype: torch.dtype, rank: int = 0) -> None:
        self.config, self.device, self.dtype, self.rank = config, device, dtype, rank
        torch.manual_seed(config.seed)
        self.model = CycleGAN(config)
        self.memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model.to(device, memory_format=self.memory_format)  # type: ignore[call-overload]  # torch's stubs lack it
        self.generators = nn.ModuleDict({"G": self.model.G, "F": self.model.F})
        self.critics = nn.ModuleDict({"D_X": self.model.D_X, "D_Y": self.model.D_Y})
        self.ema = AveragedModel(self.generators, multi_avg_fn=self._average)
        self.generator_optimizer, self.critic_optimizer = (
            torch.optim.Adam(networks.parameters(), lr=config.lr, betas=(config.beta1, 0.999), fused=True)
            for networks in (self.generators, self.critics)
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self._stateful: dict[str, Any] = {
            "model": self.model,
            "ema": self.ema,
            "generator_optimizer": self.generator_optimizer,
            "critic_optimizer": self.critic_optimizer,
            "scaler": self.scaler,
        }
        """The objects whose state is the same in every process. The history pools are different in each."""
        self.pool_x = HistoryPool(config.pool_size, 2 * (config.seed + rank))
        self.pool_y = HistoryPool(config.pool_size, 2 * (config.seed + rank) + 1)
        self.teacher = Teacher(config, device)
        self._step = 0

    @property
    def averaged(self) -> nn.ModuleDict:
        """The moving averages of the generators, "G" and "F"."""
        return cast(nn.ModuleDict, self.ema.module)

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Load some or all weights of a CycleGAN's state dict. The moving average starts from them."""
        self.model.load_state_dict(self.model.state_dict() | weights)
        self.averaged.load_state_dict(self.generators.state_dict())

    def state_dict(self) -> dict[str, Any]:
        pools = distributed.gather((self.pool_x.state_dict(), self.pool_y.state_dict()))
        return {name: part.state_dict() for name, part in self._stateful.items()} | {"pools": pools}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`. Where the configuration has changed since, the new one takes effect."""
        for name, part in self._stateful.items():
            if saved := state.get(name):  # a disabled scaler has no state
                part.load_state_dict(saved)
        for optimizer in (self.generator_optimizer, self.critic_optimizer):
            for group in optimizer.param_groups:
                group["betas"] = (self.config.beta1, 0.999)
            for parameter, moments in optimizer.state.items():  # channels_last may have changed
                for name in ("exp_avg", "exp_avg_sq"):
                    moments[name] = torch.empty_like(parameter).copy_(moments[name])
        pools = state["pools"]
        for pool, saved in zip((self.pool_x, self.pool_y), pools[self.rank % len(pools)], strict=True):
            pictures = [picture for picture in saved["pictures"] if picture.shape[-1] == self.config.crop_size]
            pool.load_state_dict(saved | {"pictures": pictures[: self.config.pool_size]})

    def wrap(self) -> None:
        """Compile the networks if configured, and set up the averaging of gradients over processes. Call this after loading weights."""
        if self.config.compile:
            # The compiler cannot differentiate gradients, which the penalties need.
            has_penalty = self.config.r1_gamma or self.model.objective.gradient_penalty
            for network in (*self.generators.values(), *(() if has_penalty else self.critics.values())):
                network.compile()
        self._generator_losses = distributed.average_gradients(self.generators, self.model.generator_losses)
        self._critic_losses = distributed.average_gradients(self.critics, self.model.critic_losses)

    def train_step(self, x: Tensor, y: Tensor, step: int, measure: bool = False) -> dict[str, Tensor]:
        """Update both generators, then both critics, on (n, 3, h, w) floats in [-1, 1]; `step` counts from 0.
        Returns the losses by name, detached, still on the device; `measure` adds pull_G and pull_F."""
        config = self.config
        self._step = step
        x, y = x.contiguous(memory_format=self.memory_format), y.contiguous(memory_format=self.memory_format)
        distributed.seed_step(config.seed, step, self.rank)
        for optimizer, lr in ((self.generator_optimizer, config.lr), (self.critic_optimizer, config.critic_lr)):
            for group in optimizer.param_groups:
                group["lr"] = config.lr_at(step, lr)

        with self._autocast(), torch.no_grad():
            batches = zip(x.split(config.batch_size), y.split(config.batch_size), strict=True)
            reals = [(self.model.view(real_x), self.model.view(real_y)) for real_x, real_y in batches]
        losses, fakes = self._train_generators(reals, measure) if step % config.n_critic == 0 else ([], self._translate(reals))
        self.ema.update_parameters(self.generators)
        losses += self._train_critics(reals, fakes)
        self.scaler.update()
        names = dict.fromkeys(name for parts in losses for name in parts)
        return {name: torch.stack([parts[name].detach() for parts in losses if name in parts]).mean() for name in names}

    def _train_generators(self, reals: list[Pair], measure: bool) -> tuple[list[dict[str, Tensor]], list[Pair]]:
        """Update the generators. Returns the losses of each batch, and its translations (F(y), G(x))."""
        self.critics.requires_grad_(False)
        warming_up = self._step < self.config.critic_warmup
        losses, fakes = [], []
        for i, (x, y) in enumerate(reals):
            with distributed.accumulating(self._generator_losses, is_last=i == len(reals) - 1):
                with self._autocast():
                    teacher_x, teacher_y = self.teacher.translate(x.pixels, y.pixels)
                    loss, fake_x, fake_y = self._generator_losses(x, y, teacher_x, teacher_y, measure and i == 0)
                if not warming_up:
                    self.scaler.scale(loss.total / len(reals)).backward()
            losses.append(loss.parts)
            fakes.append((fake_x, fake_y))
        if not warming_up:
            self._update(self.generator_optimizer)
        self.critics.requires_grad_(True)
        return losses, fakes

    def _translate(self, reals: list[Pair]) -> list[Pair]:
        """Return (F(y), G(x)) for each batch, without gradients."""
        with self._autocast(), torch.no_grad():
            return [(self.model.view(self.model.F(y.pixels)), self.model.view(self.model.G(x.pixels))) for x, y in reals]

    def _train_critics(self, reals: list[Pair], fakes: list[Pair]) -> list[dict[str, Tensor]]:
        """Update the critics on real pictures and on current or earlier translations. Returns the losses of each batch."""
        config = self.config
        r1_weight = config.r1_gamma * config.r1_every if self._step % config.r1_every == 0 else 0.0
        losses = []
        for i, ((x, y), (fake_x, fake_y)) in enumerate(zip(reals, fakes, strict=True)):
            with distributed.accumulating(self._critic_losses, is_last=i == len(reals) - 1):
                with self._autocast():
                    pooled = self._exchange(self.pool_x, fake_x), self._exchange(self.pool_y, fake_y)
                    loss = self._critic_losses(x, y, *pooled, r1_weight)
                self.scaler.scale(loss.total / len(reals)).backward()
            losses.append(loss.parts)
        self._update(self.critic_optimizer)
        return losses

    def _exchange(self, pool: HistoryPool, fake: View) -> View:
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
        """Update the moving average. The decay is lower in the first steps, so that the average does not lag behind."""
        decay = min(self.config.ema, (1 + self._step) / (10 + self._step))
        torch._foreach_lerp_(averages, currents, 1 - decay)
