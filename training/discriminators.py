"""Critics: (n, 3, h, w) floats in [-1, 1] to a map of logits, one a patch."""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from training.config import TrainingConfig
from training.generators import initialise


class PatchGAN(nn.Module):
    """Judges overlapping patches: 70×70 pixels with n_layers 3 (Isola et al., CVPR 2017); 30×30 answers for 256×256."""

    def __init__(self, ndf: int = 64, n_layers: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels = ndf
        for layer in range(1, n_layers + 1):
            out_channels = ndf * min(2**layer, 8)
            stride = 2 if layer < n_layers else 1
            layers += [nn.Conv2d(channels, out_channels, 4, stride=stride, padding=1)]
            layers += [nn.InstanceNorm2d(out_channels), nn.LeakyReLU(0.2)]
            channels = out_channels
        layers += [nn.Conv2d(channels, 1, 4, stride=1, padding=1)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class PixelGAN(nn.Module):
    """Judges every pixel by itself, by 1×1 convolutions (Isola et al., CVPR 2017)."""

    def __init__(self, ndf: int = 64) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, ndf, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(ndf, 2 * ndf, 1),
            nn.InstanceNorm2d(2 * ndf),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * ndf, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def make_discriminator(config: TrainingConfig) -> nn.Module:
    """A critic as `config` describes it, initialised from normal(0, 0.02)."""
    critic = initialise(PixelGAN(config.ndf) if config.discriminator == "pixel" else PatchGAN(config.ndf, config.n_layers))
    if config.spectral_norm:
        for module in critic.modules():
            if isinstance(module, nn.Conv2d):
                spectral_norm(module)
    return critic
