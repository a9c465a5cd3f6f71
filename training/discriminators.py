"""Critics: (n, 3, h, w) floats in [-1, 1] to maps of logits, one a patch: (n, 1, h', w'), or as many as there are scales."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate
from torch.nn.utils.parametrizations import spectral_norm

from training.config import TrainingConfig
from training.generators import initialise


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


def _normalised(channels: int, norm: bool) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels)] if norm else []


def make_discriminator(config: TrainingConfig) -> nn.Module:
    """A critic as `config` describes it, initialised from normal(0, 0.02)."""
    norm = config.critic_norm == "instance"
    critics: list[nn.Module] = [
        PixelGAN(config.ndf, norm) if config.discriminator == "pixel" else PatchGAN(config.ndf, config.n_layers, norm)
        for _ in range(config.n_scales)
    ]
    critic = initialise(critics[0] if len(critics) == 1 else MultiScale(critics))
    if config.spectral_norm:
        for module in critic.modules():
            if isinstance(module, nn.Conv2d):
                spectral_norm(module)
    return critic
