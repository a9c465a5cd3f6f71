"""What a run trains, and one step of it: both mappings and critics, their optimizers and rates, the moving average, the pools."""

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
"""Of pictures of both domains, or of translations to both."""


class Learner:
    """Made new by the configuration's seed, on a device; computes in `dtype`, by autocast where that is not fp32."""

    def __init__(self, config: TrainingConfig, device: torch.device, dtype: torch.dtype, rank: int = 0) -> None:
        self.config, self.device, self.dtype, self.rank = config, device, dtype, rank
        torch.manual_seed(config.seed)
        self.model = CycleGAN(config)
        self.memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model.to(device, memory_format=self.memory_format)  # type: ignore[call-overload]  # torch's stubs lack it
        self.generators = nn.ModuleDict({"G": self.model.G, "F": self.model.F})
        self.critics = nn.ModuleDict({"D_X": self.model.D_X, "D_Y": self.model.D_Y})
        self.ema = AveragedModel(self.generators, multi_avg_fn=self._average)
        self.generator_optimizer = self._optimizer(self.generators)
        self.critic_optimizer = self._optimizer(self.critics)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self._parts: dict[str, Any] = {
            "model": self.model,
            "ema": self.ema,
            "generator_optimizer": self.generator_optimizer,
            "critic_optimizer": self.critic_optimizer,
            "scaler": self.scaler,
        }
        """What every process holds alike; each has pools of its own."""
        self.pool_x = HistoryPool(config.pool_size, 2 * (config.seed + rank))
        self.pool_y = HistoryPool(config.pool_size, 2 * (config.seed + rank) + 1)
        self.teacher = Teacher(config, device)
        self._step = 0

    def _optimizer(self, networks: nn.Module) -> torch.optim.Adam:
        config = self.config
        return torch.optim.Adam(networks.parameters(), lr=config.lr, betas=(config.beta1, 0.999), fused=True)

    @property
    def averaged(self) -> nn.ModuleDict:
        """The moving averages of the generators, "G" and "F"."""
        return cast(nn.ModuleDict, self.ema.module)

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Some or all of the state of a CycleGAN."""
        self.model.load_state_dict(self.model.state_dict() | weights)
        self.averaged.load_state_dict(self.generators.state_dict())

    def state(self) -> dict[str, Any]:
        """For `resume`."""
        pools = distributed.gather((self.pool_x.state_dict(), self.pool_y.state_dict()))
        return {name: part.state_dict() for name, part in self._parts.items()} | {"pools": pools}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave. What the configuration has otherwise takes effect."""
        for name, part in self._parts.items():
            if saved := state.get(name):  # the scaler has no state where it scales nothing
                part.load_state_dict(saved)
        for optimizer in (self.generator_optimizer, self.critic_optimizer):
            for group in optimizer.param_groups:
                group["betas"] = (self.config.beta1, 0.999)
            for parameter, moments in optimizer.state.items():  # which may be of the other memory format
                for name in ("exp_avg", "exp_avg_sq"):
                    moments[name] = torch.empty_like(parameter).copy_(moments[name])
        pools = state["pools"]
        for pool, saved in zip((self.pool_x, self.pool_y), pools[self.rank % len(pools)], strict=True):
            kept = [picture for picture in saved["pictures"] if picture.shape[-1] == self.config.crop_size]
            pool.load_state_dict(saved | {"pictures": kept[: self.config.pool_size]})

    def share(self) -> None:
        """Compile what is to be compiled, and share gradients with other processes: once all weights are there. Critics stay as they are
        where a penalty differentiates their gradients: the compiler cannot."""
        if self.config.compile:
            penalised = self.config.r1_gamma or self.model.objective.gradient_penalty
            for network in (*self.generators.values(), *(() if penalised else self.critics.values())):
                network.compile()
        self._generator_losses = distributed.share(self.generators, self.model.generator_losses)
        self._critic_losses = distributed.share(self.critics, self.model.critic_losses)

    def train_step(self, x: Tensor, y: Tensor, step: int, measure: bool = False) -> dict[str, Tensor]:
        """Both generators, then both critics, on (n, 3, h, w) floats in [-1, 1]; `step` counts from 0. Returns the parts of the losses,
        detached, still on the device; with `measure` of pulls, too."""
        config = self.config
        self._step = step
        x, y = x.contiguous(memory_format=self.memory_format), y.contiguous(memory_format=self.memory_format)
        distributed.seed_step(config.seed, step, self.rank)
        for optimizer, lr in ((self.generator_optimizer, config.lr), (self.critic_optimizer, config.critic_lr)):
            for group in optimizer.param_groups:
                group["lr"] = config.lr_at(step, lr)

        pairs = [self._views(*pair) for pair in zip(x.split(config.batch_size), y.split(config.batch_size), strict=True)]
        parts, fakes = self._train_generators(pairs, measure) if step % config.n_critic == 0 else ([], self._translated(pairs))
        self.ema.update_parameters(self.generators)
        parts += self._train_critics(pairs, fakes)
        self.scaler.update()
        names = dict.fromkeys(name for each in parts for name in each)
        return {name: torch.stack([each[name].detach() for each in parts if name in each]).mean() for name in names}

    def _views(self, x: Tensor, y: Tensor) -> Pair:
        with self._autocast(), torch.no_grad():
            return self.model.view(x), self.model.view(y)

    def _train_generators(self, pairs: list[Pair], measure: bool) -> tuple[list[dict[str, Tensor]], list[Pair]]:
        """A step on pairs of x and y. Returns the parts of the losses, and F(y) and G(x), a pair each."""
        self.critics.requires_grad_(False)
        learns = self._step >= self.config.critic_warmup
        parts, fakes = [], []
        for number, (x, y) in enumerate(pairs):
            with distributed.accumulating(self._generator_losses, is_last=number == len(pairs) - 1):
                with self._autocast():
                    lesson = self.teacher.lesson(x.pixels, y.pixels)
                    losses, fake_x, fake_y = self._generator_losses(x, y, lesson, measure and number == 0)
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
        r1_weight = config.r1_gamma * config.r1_every if self._step % config.r1_every == 0 else 0.0
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
        decay = min(self.config.ema, (1 + self._step) / (10 + self._step))
        torch._foreach_lerp_(averages, currents, 1 - decay)
