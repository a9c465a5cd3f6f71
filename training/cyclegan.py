"""Both mappings, both critics, and the losses of one training step.

    L(G, F, D_X, D_Y) = L_GAN(G, D_Y, X, Y) + L_GAN(F, D_X, Y, X) + λ L_cyc(G, F)        (equation 3 of the paper)

and λ · lambda_identity · L_identity(G, F) beside it (section 5.2), and where they have weights the further terms of
training/objectives.py. In the code of others G is netG_A, F is netG_B, D_Y is netD_A and D_X is netD_B.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.augment import augment
from training.config import TrainingConfig
from training.discriminators import make_discriminator
from training.generators import make_generator
from training.objectives import (
    OBJECTIVES,
    color_loss,
    content_loss,
    cycle_loss,
    gradient_penalty,
    identity_loss,
    lattice_loss,
    r1_penalty,
    shift_loss,
    teacher_loss,
)
from training.perception import Levels, load_features

TERMS = ("adversarial", "cycle", "identity", "content", "color", "shift", "lattice")
"""Whose weights are lambda_adversarial and so on, of G and of F."""


@dataclass(frozen=True)
class Lesson:
    """What a teacher makes of x and of y; None where it does not teach that direction."""

    y: Tensor | None = None
    x: Tensor | None = None


@dataclass(frozen=True)
class View:
    """Pictures, and what critics see of them: augmented, with noise, and as features where critics are heads on these."""

    pixels: Tensor
    """(n, 3, h, w) floats in [-1, 1]."""
    seen: Tensor | Levels

    def detach(self) -> "View":
        seen = self.seen.detach() if isinstance(self.seen, Tensor) else tuple(level.detach() for level in self.seen)
        return View(self.pixels.detach(), seen)


@dataclass
class Losses:
    """A weighted sum, and its parts by name, without their weights."""

    total: Tensor
    parts: dict[str, Tensor]

    def add(self, name: str, weight: float, part: Tensor) -> None:
        self.parts[name] = part
        self.total = self.total + weight * part


class CycleGAN(nn.Module):
    """G: X→Y and F: Y→X, with D_Y and D_X. Pictures are (n, 3, h, w) floats in [-1, 1]."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.G, self.F = make_generator(config), make_generator(config)
        self.features = load_features(config.features)  # frozen: no parameters, and no part of a checkpoint
        self.D_X, self.D_Y = make_discriminator(config), make_discriminator(config)
        self.config = config
        self.objective = OBJECTIVES[config.objective]

    def view(self, pictures: Tensor) -> View:
        """What a critic sees of pictures, for all losses of a step."""
        seen = augment(pictures, self.config.augment)
        if self.config.critic_noise:
            seen = seen + self.config.critic_noise * torch.randn_like(seen)
        return View(pictures, self.features(seen) if self.features and self.config.has_feature_critics else seen)

    def generator_losses(self, x: View, y: View, lesson: Lesson = Lesson(), measure: bool = False) -> tuple[Losses, View, View]:
        """The generators' losses, and views of the translations F(y) and G(x), detached.

        `measure` adds, with no weight, how strong the critics' pull on a translation is beside the cycle's: `pull_G` and `pull_F`,
        the ratio of the norms of both losses' gradients there.
        """
        losses = Losses(x.pixels.new_zeros(()), {})
        fake_y = self._add_direction(losses, 0, x, y, lesson.y, measure)
        fake_x = self._add_direction(losses, 1, y, x, lesson.x, measure)
        return losses, fake_x, fake_y

    def _add_direction(self, losses: Losses, index: int, picture: View, other: View, taught: Tensor | None, measure: bool) -> View:
        """The losses of G (`index` 0), which takes X to Y, or of F (1), which takes Y to X; and its translation of `picture`, detached.
        Instance norm treats each picture alone, so [picture, other for identity] goes through a generator as one batch."""
        config = self.config
        name, of, to = ("G", "X", "Y") if index == 0 else ("F", "Y", "X")
        generator, inverse, critic = (self.G, self.F, self.D_Y) if index == 0 else (self.F, self.G, self.D_X)
        weights = {term: getattr(config, f"lambda_{term}")[index] for term in TERMS}
        pixels, count = picture.pixels, len(picture.pixels)

        if weights["cycle"] * weights["identity"]:
            translation, same = generator(torch.cat([pixels, other.pixels])).split([count, len(other.pixels)])
            losses.add(f"identity_{to}", weights["cycle"] * weights["identity"], identity_loss(other.pixels, same))
        else:
            translation = generator(pixels)
        fake = self.view(translation)
        judged = self.objective.generator(critic(fake.seen).float())
        losses.add(name, weights["adversarial"], judged)
        if weights["cycle"]:
            cycle = cycle_loss(pixels, inverse(translation))
            losses.add(f"cycle_{of}", weights["cycle"], cycle)
            if measure:
                losses.add(f"pull_{name}", 0, _pull(weights["adversarial"] * judged, weights["cycle"] * cycle, translation))
        if weights["content"] and self.features:
            losses.add(f"content_{to}", weights["content"], content_loss(self._content(picture), self._content(fake)))
        if weights["color"]:
            losses.add(f"color_{to}", weights["color"], color_loss(pixels, translation))
        if weights["shift"]:
            losses.add(f"shift_{to}", weights["shift"], shift_loss(generator, pixels, translation))
        if weights["lattice"]:
            losses.add(f"lattice_{to}", weights["lattice"], lattice_loss(pixels, translation))
        if taught is not None:
            losses.add(f"teacher_{to}", config.lambda_teacher, teacher_loss(taught, translation))
        return fake.detach()

    def critic_losses(self, x: View, y: View, fake_x: View, fake_y: View, r1_weight: float = 0.0) -> Losses:
        """The critics' losses. `accuracy_D_X` and `accuracy_D_Y`, with no weight, are the shares of their answers that are right: near 1 a
        critic is far ahead, near ½ it is lost."""
        losses = Losses(x.pixels.new_zeros(()), {})
        for name, critic, real, fake in (("D_X", self.D_X, x, fake_x), ("D_Y", self.D_Y, y, fake_y)):
            real_logits, fake_logits = critic(real.seen).float(), critic(fake.seen).float()
            losses.add(name, 1, self.objective.critic(real_logits, fake_logits))
            losses.add(f"accuracy_{name}", 0, self.objective.accuracy(real_logits, fake_logits))

            def judge(pictures: Tensor, critic: nn.Module = critic) -> Tensor:
                return critic(self.view(pictures).seen)

            if self.objective.gradient_penalty:
                losses.add(f"{name}_penalty", self.objective.gradient_penalty, gradient_penalty(judge, real.pixels, fake.pixels))
            if r1_weight:
                losses.add(f"{name}_r1", r1_weight, r1_penalty(judge, real.pixels))
        return losses

    def _content(self, view: View) -> Tensor:
        """Their last level of features: what critics see already, unless that is augmented."""
        if isinstance(view.seen, tuple) and not self.config.augment:
            return view.seen[-1]
        assert self.features is not None
        return self.features(view.pixels)[-1]


def _pull(adversarial: Tensor, cycle: Tensor, translation: Tensor) -> Tensor:
    norms = [torch.autograd.grad(loss, translation, retain_graph=True)[0].norm() for loss in (adversarial, cycle)]
    return norms[0] / (norms[1] + 1e-12)
