"""The four networks of a CycleGAN and the losses of one training step, in the notation of the paper (Zhu et al., ICCV 2017).

    L(G, F, D_X, D_Y) = L_GAN(G, D_Y, X, Y) + L_GAN(F, D_X, Y, X) + λ L_cyc(G, F)        (equation 3)

The identity loss (section 5.2) and the other terms in training/objectives.py are added if their weights are not 0.
In the authors' code, G is netG_A, F is netG_B, D_Y is netD_A and D_X is netD_B.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training import objectives
from training.augment import augment
from training.config import TrainingConfig
from training.discriminators import make_discriminator
from training.generators import make_generator
from training.objectives import OBJECTIVES
from training.perception import Levels, load_features

TERMS = ("adversarial", "cycle", "identity", "content", "color", "shift", "lattice")
"""The terms of the generators' losses. Their weights are the fields lambda_adversarial and so on: a pair for G and F."""


@dataclass(frozen=True)
class View:
    """A batch of pictures together with what the critics see of it."""

    pixels: Tensor
    """(n, 3, h, w) floats in [-1, 1]."""
    critic_input: Tensor | Levels
    """The pictures after augmentation and noise, or their features if the critics are heads on features."""

    def detach(self) -> "View":
        seen = self.critic_input
        return View(self.pixels.detach(), seen.detach() if isinstance(seen, Tensor) else tuple(level.detach() for level in seen))


@dataclass
class Losses:
    """The weighted sum of the losses, and each loss by name, without its weight."""

    total: Tensor
    parts: dict[str, Tensor]

    def add(self, name: str, weight: float, loss: Tensor) -> None:
        self.parts[name] = loss
        self.total = self.total + weight * loss


class CycleGAN(nn.Module):
    """G: X→Y and F: Y→X, with the critics D_Y and D_X. Pictures are (n, 3, h, w) floats in [-1, 1]."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.G, self.F = make_generator(config), make_generator(config)
        self.features = load_features(config.features)  # frozen: it has no parameters and is not part of checkpoints
        self.D_X, self.D_Y = make_discriminator(config), make_discriminator(config)
        self.config = config
        self.objective = OBJECTIVES[config.objective]

    def view(self, pixels: Tensor) -> View:
        """Augment pictures, add noise and extract features, as configured for the critics. All losses of a step share the result."""
        seen = augment(pixels, self.config.augment)
        if self.config.critic_noise:
            seen = seen + self.config.critic_noise * torch.randn_like(seen)
        return View(pixels, self.features(seen) if self.features and self.config.has_feature_critics else seen)

    def generator_losses(
        self, x: View, y: View, teacher_x: Tensor | None = None, teacher_y: Tensor | None = None, measure: bool = False
    ) -> tuple[Losses, View, View]:
        """Return the losses of G and F, and views of the translations F(y) and G(x), detached.

        `teacher_x` and `teacher_y` are the teacher's translations of y and x, if it has them. With `measure`, the parts include `pull_G`
        and `pull_F`: the norm of the adversarial loss's gradient at the translation, divided by the norm of the cycle loss's gradient.
        """
        losses = Losses(x.pixels.new_zeros(()), {})
        fake_y = self._add_direction(losses, 0, x, y, teacher_y, measure)
        fake_x = self._add_direction(losses, 1, y, x, teacher_x, measure)
        return losses, fake_x, fake_y

    def _add_direction(
        self, losses: Losses, direction: int, source: View, target: View, teacher_output: Tensor | None, measure: bool
    ) -> View:
        """Add the losses of G: X→Y (direction 0) or F: Y→X (direction 1). Return the translation of `source`, detached.
        The names below are those of direction 0; for direction 1, X and Y, and G and F, are swapped."""
        config = self.config
        G, F, D_Y = (self.G, self.F, self.D_Y) if direction == 0 else (self.F, self.G, self.D_X)
        name, X, Y = ("G", "X", "Y") if direction == 0 else ("F", "Y", "X")
        weights = {term: getattr(config, f"lambda_{term}")[direction] for term in TERMS}
        x, y = source.pixels, target.pixels

        if weights["cycle"] * weights["identity"]:
            fake, same = G(torch.cat([x, y])).split([len(x), len(y)])  # one batch: instance norm treats each picture alone
            losses.add(f"identity_{Y}", weights["cycle"] * weights["identity"], objectives.identity_loss(y, same))
        else:
            fake = G(x)
        fake_view = self.view(fake)
        adversarial = self.objective.generator(D_Y(fake_view.critic_input).float())
        losses.add(name, weights["adversarial"], adversarial)
        if weights["cycle"]:
            cycle = objectives.cycle_loss(x, F(fake))
            losses.add(f"cycle_{X}", weights["cycle"], cycle)
            if measure:
                losses.add(f"pull_{name}", 0, _gradient_ratio(weights["adversarial"] * adversarial, weights["cycle"] * cycle, fake))
        if weights["content"] and self.features:
            losses.add(f"content_{Y}", weights["content"], objectives.content_loss(self._content(source), self._content(fake_view)))
        if weights["color"]:
            losses.add(f"color_{Y}", weights["color"], objectives.color_loss(x, fake))
        if weights["shift"]:
            losses.add(f"shift_{Y}", weights["shift"], objectives.shift_loss(G, x, fake))
        if weights["lattice"]:
            losses.add(f"lattice_{Y}", weights["lattice"], objectives.lattice_loss(x, fake))
        if teacher_output is not None:
            losses.add(f"teacher_{Y}", config.lambda_teacher, objectives.teacher_loss(teacher_output, fake))
        return fake_view.detach()

    def critic_losses(self, x: View, y: View, fake_x: View, fake_y: View, r1_weight: float = 0.0) -> Losses:
        """Return the losses of D_X and D_Y.

        The parts include `accuracy_D_X` and `accuracy_D_Y`, the share of correct answers: near 1 a critic is far ahead of its generator,
        near ½ it cannot tell translations from real pictures.
        """
        losses = Losses(x.pixels.new_zeros(()), {})
        for name, critic, real, fake in (("D_X", self.D_X, x, fake_x), ("D_Y", self.D_Y, y, fake_y)):
            real_logits, fake_logits = critic(real.critic_input).float(), critic(fake.critic_input).float()
            losses.add(name, 1, self.objective.critic(real_logits, fake_logits))
            losses.add(f"accuracy_{name}", 0, self.objective.accuracy(real_logits, fake_logits))

            def logits(pixels: Tensor, critic: nn.Module = critic) -> Tensor:
                return critic(self.view(pixels).critic_input)

            if weight := self.objective.gradient_penalty:
                losses.add(f"{name}_penalty", weight, objectives.gradient_penalty(logits, real.pixels, fake.pixels))
            if r1_weight:
                losses.add(f"{name}_r1", r1_weight, objectives.r1_penalty(logits, real.pixels))
        return losses

    def _content(self, view: View) -> Tensor:
        """Return the last feature level of the pictures. The critics' features are reused unless they are augmented."""
        if isinstance(view.critic_input, tuple) and not self.config.augment:
            return view.critic_input[-1]
        assert self.features is not None
        return self.features(view.pixels)[-1]


def _gradient_ratio(adversarial: Tensor, cycle: Tensor, fake: Tensor) -> Tensor:
    norms = [torch.autograd.grad(loss, fake, retain_graph=True)[0].norm() for loss in (adversarial, cycle)]
    return norms[0] / (norms[1] + 1e-12)
