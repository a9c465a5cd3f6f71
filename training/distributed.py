"""Several processes that train one run, as torchrun starts them: each takes its share of the batch, and gradients are averaged.

Without torchrun there is one process, rank 0 of 1, and nothing here does anything.
"""

import os
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


def average_gradients(networks: nn.Module) -> None:
    """Each parameter's gradient becomes its mean over all processes: that of the whole batch."""
    if distributed.is_initialized():
        gradients = [parameter.grad for parameter in networks.parameters() if parameter.grad is not None]
        whole = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(whole)
        shares = (whole / distributed.get_world_size()).split([gradient.numel() for gradient in gradients])
        for gradient, share in zip(gradients, shares, strict=True):
            gradient.copy_(share.view_as(gradient))


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
