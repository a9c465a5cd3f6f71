"""Generators: (n, 3, h, w) floats in [-1, 1] to the same. Sides must be multiples of 4 and at least 8."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from training.config import TrainingConfig

M = TypeVar("M", bound=nn.Module)


class ResidualBlock(nn.Module):
    """x + conv_block(x), with no ReLU after the sum (Johnson et al., ECCV 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class ResnetGenerator(nn.Module):
    """The paper's generator: two convolutions with stride, residual blocks, two upsamplings.

    One nn.Sequential called `model`, so that with transposed convolutions the weights carry the names
    that most published CycleGAN checkpoints use.
    """

    def __init__(self, ngf: int = 64, n_blocks: int = 9, upsampling: str = "transposed") -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, ngf, 7), nn.InstanceNorm2d(ngf), nn.ReLU()]
        for channels in (ngf, ngf * 2):
            layers += [nn.Conv2d(channels, channels * 2, 3, stride=2, padding=1)]
            layers += [nn.InstanceNorm2d(channels * 2), nn.ReLU()]
        layers += [ResidualBlock(ngf * 4) for _ in range(n_blocks)]
        for channels in (ngf * 4, ngf * 2):
            layers += _upsampling(channels, channels // 2, upsampling)
            layers += [nn.InstanceNorm2d(channels // 2), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return self.model(x)
        features = self.model[:-3](x)
        with torch.autocast(x.device.type, enabled=False):  # bf16 pixels are too coarse to learn from
            return self.model[-3:](features.float())


def _upsampling(channels: int, out_channels: int, kind: str) -> list[nn.Module]:
    if kind == "transposed":
        return [nn.ConvTranspose2d(channels, out_channels, 3, stride=2, padding=1, output_padding=1)]
    return [nn.Upsample(scale_factor=2, mode="nearest"), nn.ReflectionPad2d(1), nn.Conv2d(channels, out_channels, 3)]


def make_generator(config: TrainingConfig) -> ResnetGenerator:
    """A generator as `config` describes it, initialised from normal(0, 0.02) as in the paper."""
    return initialise(ResnetGenerator(config.ngf, config.n_blocks, config.upsampling))


def initialise(network: M) -> M:
    """Convolutions from normal(0, 0.02), biases 0 (the paper's appendix 7.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
