"""Several processes that train one run, as torchrun starts them: each has its share of the pictures, and gradients are averaged.

Without torchrun there is one process, rank 0 of 1, and nothing here does anything.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn


def start() -> tuple[int, int]:
    """Join the other processes where torchrun started some. Returns this one's rank and how many there are."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return distributed.get_rank(), distributed.get_world_size()


def leave() -> None:
    """Wait for the other processes, then part: one that ended first would have torchrun stop those that still write."""
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def share(networks: nn.Module, losses: Callable[..., Any]) -> nn.Module:
    """A module whose forward is `losses`, and after whose backward the gradients of the `networks` are their mean over all processes:
    that of the whole batch. They are averaged while others are still computed (Li et al., "PyTorch Distributed", VLDB 2020)."""
    module = _Losses(networks, losses)
    if not distributed.is_initialized():
        return module
    return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


def accumulating(module: nn.Module, is_last: bool) -> AbstractContextManager:
    """Around the computation of a batch: but for the step's last, gradients stay in the process."""
    return module.no_sync() if isinstance(module, nn.parallel.DistributedDataParallel) and not is_last else nullcontext()


class _Losses(nn.Module):
    def __init__(self, networks: nn.Module, losses: Callable[..., Any]) -> None:
        super().__init__()
        self.networks, self._losses = networks, losses

    def forward(self, *arguments: Any) -> Any:
        return self._losses(*arguments)


def average(value: Tensor) -> Tensor:
    """The mean of `value` over all processes."""
    if distributed.is_initialized():
        distributed.all_reduce(value)
        value /= distributed.get_world_size()
    return value


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return bool(average(torch.tensor(float(flag))) > 0)


def gather(value: Any) -> list[Any]:
    """Every process's value, by rank, in every process."""
    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def seed_step(seed: int, step: int, rank: int) -> None:
    """Torch's random numbers of a step follow from (seed, step, rank) alone, so that a resumed run draws the same."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0]))
