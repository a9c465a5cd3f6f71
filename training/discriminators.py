"""Critics: (n, 3, h, w) floats in [-1, 1], or features of them, to maps of logits, one a patch: (n, 1, h', w'), or as many as
there are scales or heads."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate
from torch.nn.utils.parametrizations import spectral_norm

from training.config import TrainingConfig
from training.generators import initialise
from training.perception import CHANNELS, Levels


class PatchGAN(nn.Module):
    """Judges overlapping patches: 70×70 pixels with n_layers 3 (Isola et al., CVPR 2017); 30×30 answers for 256×256."""

    def __init__(self, ndf: int = 64, n_layers: int = 3, norm: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels = ndf
        for layer in range(1, n_layers + 1):
            out_channels = ndf * min(2**layer, 8)
            stride = 2 if layer < n_layers else 1
            layers += [nn.Conv2d(channels, out_channels, 4, stride=stride, padding=1)]
            layers += [*_normalised(out_channels, norm), nn.LeakyReLU(0.2)]
            channels = out_channels
        layers += [nn.Conv2d(channels, 1, 4, stride=1, padding=1)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class PixelGAN(nn.Module):
    """Judges every pixel by itself, by 1×1 convolutions (Isola et al., CVPR 2017)."""

    def __init__(self, ndf: int = 64, norm: bool = True) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, ndf, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(ndf, 2 * ndf, 1),
            *_normalised(2 * ndf, norm),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * ndf, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class MultiScale(nn.Module):
    """Critics of the picture, of its half, of its quarter and so on (Wang et al., pix2pixHD, CVPR 2018). The answers of each are
    spread over the first one's map, so that all count alike."""

    def __init__(self, critics: list[nn.Module]) -> None:
        super().__init__()
        self.critics = nn.ModuleList(critics)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for critic in self.critics:
            maps.append(critic(avg_pool2d(x, 2 ** len(maps))))
        return torch.cat([interpolate(each, maps[0].shape[2:]) for each in maps], dim=1)


class FeatureCritic(nn.Module):
    """Small heads on the three levels of a frozen network (Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021; Kumari et al.,
    "Ensembling Off-the-shelf Models for GAN Training", CVPR 2022), so that textures are told apart from the first step on. The last
    level has two, of which one sees further. The answers of each are spread over the first one's map, so that all count alike."""

    LEVELS = (0, 1, 2, 2)
    STRIDES = (2, 1, 0, 2)
    """Convolutions with stride in each head."""

    def __init__(self, ndf: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_head(CHANNELS[level], strides, ndf) for level, strides in zip(self.LEVELS, self.STRIDES, strict=True))

    def forward(self, levels: Levels) -> Tensor:
        maps = [head(levels[level]) for head, level in zip(self.heads, self.LEVELS, strict=True)]
        return torch.cat([interpolate(each, maps[0].shape[2:]) for each in maps], dim=1)


def _head(channels: int, strides: int, ndf: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, ndf, 1), nn.LeakyReLU(0.2)]
    width = ndf
    for _ in range(strides):
        layers += [nn.Conv2d(width, 2 * ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        width = 2 * ndf
    layers += [nn.Conv2d(width, 2 * ndf, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(2 * ndf, 1, 3, padding=1)]
    return nn.Sequential(*layers)


def _normalised(channels: int, norm: bool) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels)] if norm else []


def make_discriminator(config: TrainingConfig) -> nn.Module:
    """A critic as `config` describes it. Heads on features start as torch starts convolutions, all others from normal(0, 0.02)."""
    if config.has_feature_critics:
        return _spectrally_normalised(FeatureCritic(config.ndf))
    on_features = config.discriminator == "features"
    norm = config.critic_norm == "instance" and not on_features
    critics: list[nn.Module] = [
        PixelGAN(config.ndf, norm) if config.discriminator == "pixel" else PatchGAN(config.ndf, config.n_layers, norm)
        for _ in range(config.n_scales)
    ]
    critic = initialise(critics[0] if len(critics) == 1 else MultiScale(critics))
    return _spectrally_normalised(critic) if config.spectral_norm or on_features else critic


def _spectrally_normalised(critic: nn.Module) -> nn.Module:
    for module in critic.modules():
        if isinstance(module, nn.Conv2d):
            spectral_norm(module)
    return critic
