"""Critics: they map (n, 3, h, w) floats in [-1, 1], or features of these, to logits for each patch.

The logits are (n, 1, h', w'), or (n, k, h', w') for k scales or heads.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate
from torch.nn.utils.parametrizations import spectral_norm

from training.config import TrainingConfig
from training.generators import initialise
from training.perception import CHANNELS, Levels


class PatchGAN(nn.Module):
    """Judges overlapping patches: with n_layers 3 they have 70×70 pixels, 30×30 in a picture of 256×256 (Isola et al., CVPR 2017)."""

    def __init__(self, ndf: int = 64, n_layers: int = 3, norm: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels = ndf
        for layer in range(1, n_layers + 1):
            out_channels = ndf * min(2**layer, 8)
            layers += [nn.Conv2d(channels, out_channels, 4, stride=2 if layer < n_layers else 1, padding=1)]
            layers += [*_instance_norm(out_channels, norm), nn.LeakyReLU(0.2)]
            channels = out_channels
        self.model = nn.Sequential(*layers, nn.Conv2d(channels, 1, 4, stride=1, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class PixelGAN(nn.Module):
    """Judges single pixels with 1×1 convolutions (Isola et al., CVPR 2017)."""

    def __init__(self, ndf: int = 64, norm: bool = True) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, ndf, 1), nn.LeakyReLU(0.2), nn.Conv2d(ndf, 2 * ndf, 1), *_instance_norm(2 * ndf, norm), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*layers, nn.Conv2d(2 * ndf, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def _merge(maps: list[Tensor]) -> Tensor:
    """Concatenate logits as channels. Each map is resized to the first one, so that all critics count the same."""
    return torch.cat([interpolate(logits, maps[0].shape[2:]) for logits in maps], dim=1)


class MultiScale(nn.Module):
    """Critics for the picture, its half size, its quarter size and so on (Wang et al., pix2pixHD, CVPR 2018)."""

    def __init__(self, critics: list[nn.Module]) -> None:
        super().__init__()
        self.critics = nn.ModuleList(critics)

    def forward(self, x: Tensor) -> Tensor:
        return _merge([critic(avg_pool2d(x, 2**level)) for level, critic in enumerate(self.critics)])


class FeatureCritic(nn.Module):
    """Small heads on three levels of a frozen network, which can tell textures apart from the first step on.

    Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021; Kumari et al., "Ensembling Off-the-shelf Models for GAN Training",
    CVPR 2022. The last level has two heads, one of which sees a larger area.
    """

    LEVELS = (0, 1, 2, 2)
    STRIDES = (2, 1, 0, 2)
    """The number of convolutions with stride in each head."""

    def __init__(self, ndf: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_head(CHANNELS[level], strides, ndf) for level, strides in zip(self.LEVELS, self.STRIDES, strict=True))

    def forward(self, levels: Levels) -> Tensor:
        return _merge([head(levels[level]) for head, level in zip(self.heads, self.LEVELS, strict=True)])


def _head(channels: int, strides: int, ndf: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, ndf, 1), nn.LeakyReLU(0.2)]
    width = ndf
    for _ in range(strides):
        layers += [nn.Conv2d(width, 2 * ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        width = 2 * ndf
    layers += [nn.Conv2d(width, 2 * ndf, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(2 * ndf, 1, 3, padding=1)]
    return nn.Sequential(*layers)


def _instance_norm(channels: int, norm: bool) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels)] if norm else []


def make_discriminator(config: TrainingConfig) -> nn.Module:
    """Return the configured critic. Heads on features keep torch's initialization, the others are initialized as in the paper."""
    if config.has_feature_critics:
        critic: nn.Module = FeatureCritic(config.ndf)
    else:
        norm = config.critic_norm == "instance" and config.discriminator != "features"
        critics: list[nn.Module] = [
            PixelGAN(config.ndf, norm) if config.discriminator == "pixel" else PatchGAN(config.ndf, config.n_layers, norm)
            for _ in range(config.n_scales)
        ]
        critic = initialise(critics[0] if len(critics) == 1 else MultiScale(critics))
    if config.spectral_norm or config.discriminator == "features":
        for module in critic.modules():
            if isinstance(module, nn.Conv2d):
                spectral_norm(module)
    return critic
