"""What the networks are trained for: the adversarial objective, the cycle and the identity loss.

Logits are maps of any shape, pictures (n, 3, h, w) floats in [-1, 1]; each loss is a scalar in fp32.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Objective:
    """An adversarial objective: what the generator minimises, and what its critic does."""

    generator: Callable[[Tensor], Tensor]
    """From the critic's logits of translations, D(G(x))."""
    critic: Callable[[Tensor, Tensor], Tensor]
    """From the critic's logits of real pictures, D(y), and of translations."""
    gradient_penalty: float = 0.0
    """Weight of `gradient_penalty` in the critic's loss."""


def _original_critic(real: Tensor, fake: Tensor) -> Tensor:
    """−E[log D(y)] − E[log(1 − D(G(x)))], D = sigmoid(logits)."""
    return -functional.logsigmoid(real).mean() - functional.logsigmoid(-fake).mean()


OBJECTIVES = {
    # least squares, as the paper trains (section 4; Mao et al., ICCV 2017): E[(D(G(x)) − 1)²]; ½ E[(D(y) − 1)²] + ½ E[D(G(x))²]
    "lsgan": Objective(
        generator=lambda fake: (fake - 1).square().mean(),
        critic=lambda real, fake: 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean(),
    ),
    # the original GAN's game (Goodfellow et al., NeurIPS 2014, equation 1), D = sigmoid(logits): the critic ascends
    # E[log D(y)] + E[log(1 − D(G(x)))], the generator descends E[log(1 − D(G(x)))]
    "minimax": Objective(
        generator=lambda fake: functional.logsigmoid(-fake).mean(),
        critic=_original_critic,
    ),
    # the same critic; the generator ascends E[log D(G(x))] instead (their section 3)
    "nonsaturating": Objective(
        generator=lambda fake: -functional.logsigmoid(fake).mean(),
        critic=_original_critic,
    ),
    # Lim and Ye, "Geometric GAN", 2017: −E[D(G(x))]; E[max(0, 1 − D(y))] + E[max(0, 1 + D(G(x)))]
    "hinge": Objective(
        generator=lambda fake: -fake.mean(),
        critic=lambda real, fake: functional.relu(1 - real).mean() + functional.relu(1 + fake).mean(),
    ),
    # Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017: −E[D(G(x))]; E[D(G(x))] − E[D(y)] + 10 penalty
    "wgan-gp": Objective(
        generator=lambda fake: -fake.mean(),
        critic=lambda real, fake: fake.mean() - real.mean(),
        gradient_penalty=10.0,
    ),
}
"""By name. Logits are fp32."""


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """E[(‖∇D(x̂)‖₂ − 1)²] at points x̂ between real pictures and translations (Gulrajani et al., equation 3)."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = torch.lerp(real, fake, share).requires_grad_()
    return (_gradients(critic, between).norm(dim=1) - 1).square().mean()


def r1_penalty(critic: nn.Module, real: Tensor) -> Tensor:
    """½ E[‖∇D(y)‖²] at real pictures; times gamma (Mescheder et al., ICML 2018, equation 9)."""
    return 0.5 * _gradients(critic, real.detach().requires_grad_()).square().sum(dim=1).mean()


def _gradients(critic: nn.Module, pictures: Tensor) -> Tensor:
    """Of each picture's mean logit by its pixels: (n, 3 · h · w). In fp32, since they are differentiated again."""
    with torch.autocast(pictures.device.type, enabled=False):
        logits = critic(pictures).flatten(1).mean(dim=1).sum()
        (gradients,) = torch.autograd.grad(logits, pictures, create_graph=True)
    return gradients.flatten(1)


def cycle_loss(picture: Tensor, there_and_back: Tensor) -> Tensor:
    """E[‖F(G(x)) − x‖₁], the paper's equation 2, a direction at a time."""
    return functional.l1_loss(there_and_back.float(), picture.float())


def identity_loss(picture: Tensor, kept: Tensor) -> Tensor:
    """E[‖G(y) − y‖₁]: a picture that is already of the target domain stays as it is (the paper's section 5.2)."""
    return functional.l1_loss(kept.float(), picture.float())


def teacher_loss(taught: Tensor, translation: Tensor) -> Tensor:
    """E[‖G(x) − T(x)‖₁]: the teacher T's translation is the target (Li et al., "GAN Compression", CVPR 2020, equation 2)."""
    return functional.l1_loss(translation.float(), taught.float())


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
