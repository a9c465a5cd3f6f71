"""Both mappings, both critics, and the losses of one training step, as in the paper.

    L(G, F, D_X, D_Y) = L_GAN(G, D_Y, X, Y) + L_GAN(F, D_X, Y, X) + λ L_cyc(G, F)        (equation 3)

and λ · lambda_identity · L_identity(G, F) beside it (section 5.2). In the code of others G is netG_A, F is netG_B,
D_Y is netD_A and D_X is netD_B.
"""

import torch
from torch import Tensor, nn

from training.config import TrainingConfig
from training.discriminators import make_discriminator
from training.generators import make_generator
from training.objectives import OBJECTIVES, cycle_loss, identity_loss


class CycleGAN(nn.Module):
    """G: X→Y and F: Y→X, with D_Y and D_X. Pictures are (n, 3, h, w) floats in [-1, 1]."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.G, self.F = make_generator(config), make_generator(config)
        self.D_X, self.D_Y = make_discriminator(config), make_discriminator(config)
        self.objective = OBJECTIVES[config.objective]
        self.lambda_cycle = config.lambda_cycle
        self.lambda_identity = config.lambda_identity * config.lambda_cycle

    def generator_losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
        """The generators' full loss, its parts by name, and the translations G(x) and F(y), detached.

        Instance norm treats each picture alone, so [input, identity input] goes through a generator as one batch.
        """
        fake_y, same_y = self.G(torch.cat([x, y])).split([len(x), len(y)])
        fake_x, same_x = self.F(torch.cat([y, x])).split([len(y), len(x)])
        parts = {
            "G": self.objective.generator(self.D_Y(fake_y)),
            "F": self.objective.generator(self.D_X(fake_x)),
            "cycle_X": cycle_loss(x, self.F(fake_y)),
            "cycle_Y": cycle_loss(y, self.G(fake_x)),
            "identity_X": identity_loss(x, same_x),
            "identity_Y": identity_loss(y, same_y),
        }
        loss = (
            parts["G"]
            + parts["F"]
            + self.lambda_cycle * (parts["cycle_X"] + parts["cycle_Y"])
            + self.lambda_identity * (parts["identity_X"] + parts["identity_Y"])
        )
        return loss, parts, fake_y.detach(), fake_x.detach()

    def critic_losses(self, x: Tensor, y: Tensor, fake_x: Tensor, fake_y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The critics' loss and its parts; real pictures and translations go through a critic as one batch."""
        parts = {}
        for name, critic, real, fake in (("D_X", self.D_X, x, fake_x), ("D_Y", self.D_Y, y, fake_y)):
            real_logits, fake_logits = critic(torch.cat([real, fake])).split([len(real), len(fake)])
            parts[name] = self.objective.critic(real_logits, fake_logits)
        return parts["D_X"] + parts["D_Y"], parts
