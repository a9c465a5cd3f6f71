"""Training one run in several processes, as torchrun starts them: each trains on its share of the pictures, and gradients are averaged.

Without torchrun there is one process, rank 0 of 1, and the functions here do nothing.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn


def start() -> tuple[int, int]:
    """Join the process group if torchrun started this process. Returns the rank and the number of processes."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return distributed.get_rank(), distributed.get_world_size()


def leave() -> None:
    """Wait for the other processes, then leave the group. Without the wait, torchrun would stop processes that are still writing."""
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


class _Losses(nn.Module):
    """A module whose forward computes `losses` of the `networks`."""

    def __init__(self, networks: nn.Module, losses: Callable[..., Any]) -> None:
        super().__init__()
        self.networks, self.forward = networks, losses


def average_gradients(networks: nn.Module, losses: Callable[..., Any]) -> nn.Module:
    """Return a module that computes `losses`. Its backward pass leaves in `networks` the mean of the gradients over all processes.
    Gradients are averaged while others are still computed (Li et al., "PyTorch Distributed", VLDB 2020)."""
    module = _Losses(networks, losses)
    return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False) if distributed.is_initialized() else module


def accumulating(module: nn.Module, is_last: bool) -> AbstractContextManager:
    """Return a context for one batch of a step. Processes exchange gradients only in the step's last batch."""
    return module.no_sync() if isinstance(module, nn.parallel.DistributedDataParallel) and not is_last else nullcontext()


def average(value: Tensor) -> Tensor:
    """Return the mean of `value` over all processes."""
    if distributed.is_initialized():
        distributed.all_reduce(value)
        value /= distributed.get_world_size()
    return value


def any_of(flag: bool) -> bool:
    """Return whether the flag is set in any process."""
    return bool(average(torch.tensor(float(flag))) > 0)


def gather(value: Any) -> list[Any]:
    """Return every process's value, by rank."""
    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch from (seed, step, rank) alone, so that a resumed run draws the same random numbers."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0]))
