"""What the networks are trained for: the adversarial objective, the cycle and the identity loss.

Logits are maps of any shape, pictures (n, 3, h, w) floats in [-1, 1]; each loss is a scalar in fp32.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Objective:
    """An adversarial objective: what the generator minimises, and what its critic does."""

    generator: Callable[[Tensor], Tensor]
    """From the critic's logits of translations."""
    critic: Callable[[Tensor, Tensor], Tensor]
    """From the critic's logits of real pictures and of translations."""


def _lsgan_generator(fake: Tensor) -> Tensor:
    """E[(D(G(x)) − 1)²]"""
    return (fake.float() - 1).square().mean()


def _lsgan_critic(real: Tensor, fake: Tensor) -> Tensor:
    """½ E[(D(y) − 1)²] + ½ E[D(G(x))²]"""
    return 0.5 * (real.float() - 1).square().mean() + 0.5 * fake.float().square().mean()


OBJECTIVES = {"lsgan": Objective(_lsgan_generator, _lsgan_critic)}
"""By name. lsgan: least squares, as the paper trains (its section 4; Mao et al., ICCV 2017)."""


def cycle_loss(picture: Tensor, there_and_back: Tensor) -> Tensor:
    """E[‖F(G(x)) − x‖₁], the paper's equation 2, a direction at a time."""
    return functional.l1_loss(there_and_back.float(), picture.float())


def identity_loss(picture: Tensor, kept: Tensor) -> Tensor:
    """E[‖G(y) − y‖₁]: a picture that is already of the target domain stays as it is (the paper's section 5.2)."""
    return functional.l1_loss(kept.float(), picture.float())


class HistoryPool:
    """The last translations: a critic sees an old one half of the time (Shrivastava et al., CVPR 2017)."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.pictures: list[Tensor] = []
        self.random = torch.Generator().manual_seed(seed)

    def exchange(self, pictures: Tensor) -> Tensor:
        """Of (n, 3, h, w), each as it is or an earlier one that it takes the place of."""
        return torch.stack([self._exchange_one(picture) for picture in pictures]) if self.size else pictures

    def _exchange_one(self, picture: Tensor) -> Tensor:
        if len(self.pictures) < self.size:
            self.pictures.append(picture.clone())
            return picture
        if torch.rand((), generator=self.random) < 0.5:
            return picture
        index = int(torch.randint(self.size, (), generator=self.random))
        earlier, self.pictures[index] = self.pictures[index], picture.clone()
        return earlier.to(picture.device)

    def state_dict(self) -> dict:
        return {"pictures": self.pictures, "random": self.random.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.pictures = list(state["pictures"])
        self.random.set_state(state["random"])
