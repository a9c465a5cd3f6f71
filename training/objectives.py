"""The losses: adversarial objectives, cycle and identity loss, and the other terms that a configuration can add.

Logits are maps of any shape, pictures are (n, 3, h, w) floats in [-1, 1], and each loss is a scalar in fp32.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Critic = Callable[[Tensor], Tensor]
"""(n, 3, h, w) pictures to maps of logits."""


@dataclass(frozen=True)
class Objective:
    """An adversarial objective: what the generator and the critic minimize. Logits are fp32."""

    generator: Callable[[Tensor], Tensor]
    """A function of the critic's logits of translations, D(G(x))."""
    critic: Callable[[Tensor, Tensor], Tensor]
    """A function of the critic's logits of real pictures, D(y), and of translations, D(G(x))."""
    gradient_penalty: float = 0.0
    """The weight of `gradient_penalty` in the critic's loss."""
    boundary: float = 0.0
    """Logits above this mean that a picture is real."""

    def accuracy(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the share of the critic's answers that are correct."""
        return ((real > self.boundary).float().mean() + (fake <= self.boundary).float().mean()) / 2


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """−E[log D(y)] − E[log(1 − D(G(x)))], where D = sigmoid(logits)."""
    return -functional.logsigmoid(real).mean() - functional.logsigmoid(-fake).mean()


OBJECTIVES = {
    # Least squares, used in the paper (section 4; Mao et al., ICCV 2017): E[(D(G(x)) − 1)²]; ½ E[(D(y) − 1)²] + ½ E[D(G(x))²]
    "lsgan": Objective(
        generator=lambda fake: (fake - 1).square().mean(),
        critic=lambda real, fake: 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean(),
        boundary=0.5,
    ),
    # The original GAN (Goodfellow et al., NeurIPS 2014, equation 1), D = sigmoid(logits): the critic maximizes
    # E[log D(y)] + E[log(1 − D(G(x)))], the generator minimizes E[log(1 − D(G(x)))]
    "minimax": Objective(generator=lambda fake: functional.logsigmoid(-fake).mean(), critic=_cross_entropy),
    # The same critic; the generator maximizes E[log D(G(x))] instead (their section 3)
    "nonsaturating": Objective(generator=lambda fake: -functional.logsigmoid(fake).mean(), critic=_cross_entropy),
    # Lim and Ye, "Geometric GAN", 2017: −E[D(G(x))]; E[max(0, 1 − D(y))] + E[max(0, 1 + D(G(x)))]
    "hinge": Objective(
        generator=lambda fake: -fake.mean(),
        critic=lambda real, fake: functional.relu(1 - real).mean() + functional.relu(1 + fake).mean(),
    ),
    # Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017: −E[D(G(x))]; E[D(G(x))] − E[D(y)] + 10 penalty
    "wgan-gp": Objective(generator=lambda fake: -fake.mean(), critic=lambda real, fake: fake.mean() - real.mean(), gradient_penalty=10.0),
}


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    """E[(‖∇D(x̂)‖₂ − 1)²] at points x̂ between real pictures and translations (Gulrajani et al., equation 3)."""
    epsilon = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = torch.lerp(real, fake, epsilon).requires_grad_()
    return (_gradients(critic, between).norm(dim=1) - 1).square().mean()


def r1_penalty(critic: Critic, real: Tensor) -> Tensor:
    """½ E[‖∇D(y)‖²] at real pictures (Mescheder et al., ICML 2018, equation 9, without its factor gamma).
    D is the sum of a map's n logits divided by √n, so that the norm does not depend on the size of the pictures."""
    return 0.5 * _gradients(critic, real.detach().requires_grad_(), power=0.5).square().sum(dim=1).mean()


def _gradients(critic: Critic, pictures: Tensor, power: float = 1.0) -> Tensor:
    """Return the gradient of each picture's critic output by its pixels, (n, 3 · h · w).
    The output is the sum of a picture's n logits divided by n^power. In fp32, since the result is differentiated again."""
    with torch.autocast(pictures.device.type, enabled=False):
        logits = critic(pictures).flatten(1)
        (gradients,) = torch.autograd.grad(logits.sum() / logits.shape[1] ** power, pictures, create_graph=True)
    return gradients.flatten(1)


def cycle_loss(x: Tensor, cycled: Tensor) -> Tensor:
    """E[‖F(G(x)) − x‖₁], one direction of the paper's equation 2."""
    return functional.l1_loss(cycled.float(), x.float())


def identity_loss(y: Tensor, same: Tensor) -> Tensor:
    """E[‖G(y) − y‖₁]: G leaves pictures of its target domain as they are (the paper's section 5.2)."""
    return functional.l1_loss(same.float(), y.float())


def content_loss(features: Tensor, fake_features: Tensor) -> Tensor:
    """E[(φ(x) − φ(G(x)))²], where φ is a level of a frozen network's features, (n, c, h, w).

    Each channel is normalized by its own mean and deviation, so that content counts, not contrast (after Gatys et al., "Image Style
    Transfer Using CNNs", CVPR 2016).
    """

    def normalize(features: Tensor) -> Tensor:
        features = features.float()
        return (features - features.mean((2, 3), keepdim=True)) / (features.std((2, 3), keepdim=True) + 1e-3)

    return functional.mse_loss(normalize(fake_features), normalize(features))


def color_loss(x: Tensor, fake: Tensor, area: int = 16) -> Tensor:
    """E[‖c(x) − c(G(x))‖₁], where c is the opponent colors, red − green and yellow − blue, averaged over `area` × `area` pixels."""

    def opponents(pixels: Tensor) -> Tensor:
        red, green, blue = functional.avg_pool2d(pixels.float(), area).unbind(1)
        return torch.stack([red - green, (red + green) / 2 - blue])

    return functional.l1_loss(opponents(fake), opponents(x))


def shift_loss(generator: Callable[[Tensor], Tensor], x: Tensor, fake: Tensor, noise: float = 1.5 / 127.5, margin: int = 12) -> Tensor:
    """E[‖G(s(x) + ε) − s(G(x))‖₁], where s shifts a picture by 0 to 3 pixels and ε is noise with a deviation of 0 to `noise`.
    The outer `margin` pixels do not count, since the pictures end differently there."""
    down, right = torch.randint(0, 4, (2,)).tolist()
    height, width = x.shape[2] - 4, x.shape[3] - 4
    shifted, expected = (pixels[:, :, down : down + height, right : right + width] for pixels in (x, fake))
    noisy = shifted + noise * torch.rand(len(shifted), 1, 1, 1, device=shifted.device) * torch.randn_like(shifted)
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    return functional.l1_loss(generator(noisy)[inner].float(), expected[inner].float())


def lattice_loss(x: Tensor, fake: Tensor, period: int = 4, window: int = 8) -> Tensor:
    """E[max(0, p(G(x)) − 1.1 p(x))], where p measures texture that repeats every `period` pixels.
    p is how much the means of the `period`² phases of the pixel grid differ in windows of `window` periods, after a high-pass."""

    def phase_differences(pixels: Tensor) -> Tensor:
        pixels = pixels.float()
        fine = pixels - functional.avg_pool2d(functional.pad(pixels, (4, 4, 4, 4), mode="reflect"), 9, 1)
        phases = functional.pixel_unshuffle(fine, period)
        means = functional.avg_pool2d(phases, window, window // 2).unflatten(1, (3, period**2))
        return (means - means.mean(dim=2, keepdim=True)).abs().mean((1, 2, 3, 4))

    return functional.relu(phase_differences(fake) - 1.1 * phase_differences(x)).mean()


def teacher_loss(teacher_output: Tensor, fake: Tensor) -> Tensor:
    """E[‖G(x) − T(x)‖₁]: the translation of the teacher T is the target (Li et al., "GAN Compression", CVPR 2020, equation 2)."""
    return functional.l1_loss(fake.float(), teacher_output.float())


class HistoryPool:
    """A buffer of earlier translations. The critic sees one of them half of the time (Shrivastava et al., CVPR 2017)."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.pictures: list[Tensor] = []
        self.random = torch.Generator().manual_seed(seed)

    def exchange(self, pictures: Tensor) -> Tensor:
        """Return each of the (n, 3, h, w) pictures as it is, or an earlier one that it replaces in the pool."""
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
