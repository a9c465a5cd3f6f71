"""What the networks are trained for: the adversarial objective, the cycle and the identity loss, and further terms.

Logits are maps of any shape, pictures (n, 3, h, w) floats in [-1, 1]; each loss is a scalar in fp32.
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
    """An adversarial objective: what the generator minimises, and what its critic does."""

    generator: Callable[[Tensor], Tensor]
    """From the critic's logits of translations, D(G(x))."""
    critic: Callable[[Tensor, Tensor], Tensor]
    """From the critic's logits of real pictures, D(y), and of translations."""
    gradient_penalty: float = 0.0
    """Weight of `gradient_penalty` in the critic's loss."""
    boundary: float = 0.0
    """Logits above it say that a picture is real."""

    def accuracy(self, real: Tensor, fake: Tensor) -> Tensor:
        """The share of the critic's answers that are right."""
        return ((real > self.boundary).float().mean() + (fake <= self.boundary).float().mean()) / 2


def _original_critic(real: Tensor, fake: Tensor) -> Tensor:
    """−E[log D(y)] − E[log(1 − D(G(x)))], D = sigmoid(logits)."""
    return -functional.logsigmoid(real).mean() - functional.logsigmoid(-fake).mean()


OBJECTIVES = {
    # least squares, as the paper trains (section 4; Mao et al., ICCV 2017): E[(D(G(x)) − 1)²]; ½ E[(D(y) − 1)²] + ½ E[D(G(x))²]
    "lsgan": Objective(
        generator=lambda fake: (fake - 1).square().mean(),
        critic=lambda real, fake: 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean(),
        boundary=0.5,
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


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    """E[(‖∇D(x̂)‖₂ − 1)²] at points x̂ between real pictures and translations (Gulrajani et al., equation 3)."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = torch.lerp(real, fake, share).requires_grad_()
    return (_gradients(critic, between).norm(dim=1) - 1).square().mean()


def r1_penalty(critic: Critic, real: Tensor) -> Tensor:
    """½ E[‖∇D(y)‖²] at real pictures; times gamma (Mescheder et al., ICML 2018, equation 9). D is the sum of a map's n answers over √n:
    of a picture of twice the sides, which has four times as many that see other pixels each, the norm is the same."""
    return 0.5 * _gradients(critic, real.detach().requires_grad_(), power=0.5).square().sum(dim=1).mean()


def _gradients(critic: Critic, pictures: Tensor, power: float = 1.0) -> Tensor:
    """Of each picture's sum of its n logits over n to the `power` (1: their mean) by its pixels: (n, 3 · h · w). In fp32, since they are
    differentiated again."""
    with torch.autocast(pictures.device.type, enabled=False):
        logits = critic(pictures).flatten(1)
        (gradients,) = torch.autograd.grad(logits.sum() / logits.shape[1] ** power, pictures, create_graph=True)
    return gradients.flatten(1)


def cycle_loss(picture: Tensor, there_and_back: Tensor) -> Tensor:
    """E[‖F(G(x)) − x‖₁], the paper's equation 2, a direction at a time."""
    return functional.l1_loss(there_and_back.float(), picture.float())


def identity_loss(picture: Tensor, kept: Tensor) -> Tensor:
    """E[‖G(y) − y‖₁]: a picture that is already of the target domain stays as it is (the paper's section 5.2)."""
    return functional.l1_loss(kept.float(), picture.float())


def content_loss(level: Tensor, translated_level: Tensor) -> Tensor:
    """E[(φ(x) − φ(G(x)))²], φ a level of a frozen network's features, (n, c, h, w), each channel normalised by its own mean and deviation:
    what is shown counts, not its contrast (after Gatys et al., "Image Style Transfer Using CNNs", CVPR 2016)."""

    def normalised(features: Tensor) -> Tensor:
        features = features.float()
        return (features - features.mean((2, 3), keepdim=True)) / (features.std((2, 3), keepdim=True) + 1e-3)

    return functional.mse_loss(normalised(translated_level), normalised(level))


def color_loss(picture: Tensor, translation: Tensor, area: int = 16) -> Tensor:
    """E[‖c(x) − c(G(x))‖₁], c the opponent colours, red − green and yellow − blue, in the mean of areas of `area` × `area` pixels."""

    def colours(pixels: Tensor) -> Tensor:
        red, green, blue = functional.avg_pool2d(pixels.float(), area).unbind(1)
        return torch.stack([red - green, (red + green) / 2 - blue])

    return functional.l1_loss(colours(translation), colours(picture))


def shift_loss(
    generator: Callable[[Tensor], Tensor], picture: Tensor, translation: Tensor, noise: float = 1.5 / 127.5, margin: int = 12
) -> Tensor:
    """E[‖G(s(x) + ε) − s(G(x))‖₁], s a move by 0 to 3 pixels down and right, ε noise of a deviation of 0 to `noise`; without the borders,
    where the pictures end differently."""
    down, right = torch.randint(0, 4, (2,)).tolist()
    height, width = picture.shape[2] - 4, picture.shape[3] - 4
    moved, expected = (pixels[:, :, down : down + height, right : right + width] for pixels in (picture, translation))
    noisy = moved + noise * torch.rand(len(moved), 1, 1, 1, device=moved.device) * torch.randn_like(moved)
    inside = (..., slice(margin, -margin), slice(margin, -margin))
    return functional.l1_loss(generator(noisy)[inside].float(), expected[inside].float())


def lattice_loss(picture: Tensor, translation: Tensor, period: int = 4, window: int = 8) -> Tensor:
    """E[max(0, p(G(x)) − 1.1 p(x))]: of the fine texture, the means of each of the `period`² phases of the grid of pixels, in windows of
    `window` periods, differ by p; in a texture that does not repeat with the grid only by chance."""

    def phases(pixels: Tensor) -> Tensor:
        pixels = pixels.float()
        fine = pixels - functional.avg_pool2d(functional.pad(pixels, (4, 4, 4, 4), mode="reflect"), 9, 1)
        shuffled = functional.pixel_unshuffle(fine, period)
        means = functional.avg_pool2d(shuffled, window, window // 2).unflatten(1, (3, period**2))
        return (means - means.mean(dim=2, keepdim=True)).abs().mean((1, 2, 3, 4))

    return functional.relu(phases(translation) - 1.1 * phases(picture)).mean()


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
