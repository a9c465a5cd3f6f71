"""Both mappings, both critics, and the losses of one training step, as in the paper.

    L(G, F, D_X, D_Y) = L_GAN(G, D_Y, X, Y) + L_GAN(F, D_X, Y, X) + λ L_cyc(G, F)        (equation 3)

and λ · lambda_identity · L_identity(G, F) beside it (section 5.2). In the code of others G is netG_A, F is netG_B,
D_Y is netD_A and D_X is netD_B.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.augment import augment
from training.config import TrainingConfig
from training.discriminators import make_discriminator
from training.generators import make_generator
from training.objectives import OBJECTIVES, cycle_loss, gradient_penalty, identity_loss, r1_penalty, teacher_loss


@dataclass(frozen=True)
class Lesson:
    """What a teacher makes of x and of y; None where it does not teach that direction."""

    y: Tensor | None = None
    x: Tensor | None = None


class CycleGAN(nn.Module):
    """G: X→Y and F: Y→X, with D_Y and D_X. Pictures are (n, 3, h, w) floats in [-1, 1]."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.G, self.F = make_generator(config), make_generator(config)
        self.D_X, self.D_Y = make_discriminator(config), make_discriminator(config)
        self.config = config
        self.objective = OBJECTIVES[config.objective]

    def generator_losses(self, x: Tensor, y: Tensor, lesson: Lesson = Lesson()) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
        """The generators' full loss, its parts by name, and the translations G(x) and F(y), detached.

        Instance norm treats each picture alone, so [input, identity input] goes through a generator as one batch.
        """
        config = self.config
        fake_y, same_y = self._translations(self.G, x, y)
        fake_x, same_x = self._translations(self.F, y, x)
        parts = {
            "G": self.objective.generator(self._judged(self.D_Y, fake_y)),
            "F": self.objective.generator(self._judged(self.D_X, fake_x)),
        }
        loss = parts["G"] + parts["F"]
        if config.lambda_cycle:
            parts |= {"cycle_X": cycle_loss(x, self.F(fake_y)), "cycle_Y": cycle_loss(y, self.G(fake_x))}
            loss = loss + config.lambda_cycle * (parts["cycle_X"] + parts["cycle_Y"])
        if same_y is not None and same_x is not None:
            parts |= {"identity_X": identity_loss(x, same_x), "identity_Y": identity_loss(y, same_y)}
            loss = loss + config.lambda_cycle * config.lambda_identity * (parts["identity_X"] + parts["identity_Y"])
        for name, taught, translation in (("teacher_Y", lesson.y, fake_y), ("teacher_X", lesson.x, fake_x)):
            if taught is not None:
                parts[name] = teacher_loss(taught, translation)
                loss = loss + config.lambda_teacher * parts[name]
        return loss, parts, fake_y.detach(), fake_x.detach()

    def critic_losses(
        self, x: Tensor, y: Tensor, fake_x: Tensor, fake_y: Tensor, r1_weight: float = 0.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The critics' loss and its parts; real pictures and translations go through a critic as one batch."""
        parts: dict[str, Tensor] = {}
        loss = x.new_zeros(())
        for name, critic, real, fake in (("D_X", self.D_X, x, fake_x), ("D_Y", self.D_Y, y, fake_y)):
            real_logits, fake_logits = self._judged(critic, torch.cat([real, fake])).split([len(real), len(fake)])
            parts[name] = self.objective.critic(real_logits, fake_logits)
            loss = loss + parts[name]
            if self.objective.gradient_penalty:
                parts[f"{name}_penalty"] = gradient_penalty(critic, real, fake)
                loss = loss + self.objective.gradient_penalty * parts[f"{name}_penalty"]
            if r1_weight:
                loss = loss + r1_weight * r1_penalty(critic, real)
        return loss, parts

    def _translations(self, generator: nn.Module, picture: Tensor, other: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of a picture, and of one that is of the generator's target domain already, where identity counts."""
        if not self.config.lambda_cycle * self.config.lambda_identity:
            return generator(picture), None
        translation, same = generator(torch.cat([picture, other])).split([len(picture), len(other)])
        return translation, same

    def _judged(self, critic: nn.Module, pictures: Tensor) -> Tensor:
        """A critic's logits in fp32, of augmented pictures where that is asked for."""
        return critic(augment(pictures, self.config.augment)).float()
