"""Generators: they translate (n, 3, h, w) floats in [-1, 1] to the same.

Module indices are those of most published CycleGAN checkpoints. Each generator has `architecture`, a description; `multiple`, which
height and width must be multiples of; and `smallest_side`.
"""

from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import TrainingConfig

M = TypeVar("M", bound=nn.Module)


class PixelConv2d(nn.Conv2d):
    """A last convolution, computed in fp32 even under autocast: bf16 pixels are too coarse to learn from."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class PixelConvTranspose2d(nn.ConvTranspose2d):
    """A last transposed convolution, also in fp32."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float(), output_size)


def _binomial_filter(channels: int, *taps: float) -> Tensor:
    row = torch.tensor(taps) / sum(taps)
    return (row[:, None] * row).repeat(channels, 1, 1, 1)


class BlurredConv2d(nn.Conv2d):
    """A 3×3 convolution with stride 2 after a binomial filter, so that the stride does not alias; borders are mirrored.
    Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 3, stride=2)
        self.register_buffer("blur", _binomial_filter(channels, 1.0, 3.0, 3.0, 1.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        mirrored = functional.pad(x, (2, 2, 2, 2), mode="reflect")
        return super().forward(functional.conv2d(mirrored, self.get_buffer("blur").to(x.dtype), groups=self.in_channels))


class Downsample(nn.Module):
    """Halves the sides with a binomial filter, as in CUT."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", _binomial_filter(channels, 1.0, 2.0, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        mirrored = functional.pad(x, (1, 1, 1, 1), mode="reflect")
        return functional.conv2d(mirrored, self.get_buffer("filt"), stride=2, groups=x.shape[1])


class Upsample(nn.Module):
    """Doubles the sides with a binomial filter, as in CUT."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", 4 * _binomial_filter(channels, 1.0, 3.0, 3.0, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        doubled = functional.conv_transpose2d(padded, self.get_buffer("filt"), stride=2, padding=2, groups=x.shape[1])
        return doubled[:, :, 1:-1, 1:-1]


class SeparableConv2d(nn.Module):
    """A 3×3 convolution of each channel, a norm, and a 1×1 convolution (Li et al., "GAN Compression", CVPR 2020)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        depthwise, pointwise = nn.Conv2d(channels, channels, 3, groups=channels), nn.Conv2d(channels, out_channels, 1)
        self.conv = nn.Sequential(depthwise, nn.InstanceNorm2d(channels), pointwise)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ResidualBlock(nn.Module):
    """x + conv_block(x), without a ReLU after the sum (Johnson et al., ECCV 2016)."""

    def __init__(self, channels: int, inside: int, separable: bool) -> None:
        super().__init__()
        Convolution = SeparableConv2d if separable else partial(nn.Conv2d, kernel_size=3)
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            Convolution(channels, inside),
            nn.InstanceNorm2d(inside),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            Convolution(inside, channels),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


@dataclass(frozen=True)
class Widths:
    """The channels of a ResNet generator."""

    down: tuple[int, int, int]
    """After the first convolution and the two downsamplings. The last is also the number outside the residual blocks."""
    blocks: tuple[int, ...]
    """Inside each residual block."""
    up: tuple[int, int]
    """After the two upsamplings."""

    @classmethod
    def of(cls, ngf: int, n_blocks: int, trunk: int | None = None) -> "Widths":
        """Return the paper's widths: ngf, 2 ngf, 4 ngf, and back; or `trunk` channels in the middle instead of 4 ngf."""
        trunk = trunk or 4 * ngf
        return cls((ngf, 2 * ngf, trunk), (trunk,) * n_blocks, (2 * ngf, ngf))


class ResnetGenerator(nn.Module):
    """The paper's generator: two downsamplings, residual blocks, two upsamplings.

    `downsampling` and `upsampling` are those of the configuration, or "antialiased" as in CUT (Park et al., "Contrastive Learning for
    Unpaired Image-to-Image Translation", ECCV 2020): convolutions keep the size, and binomial filters halve or double it.
    """

    multiple = 4
    smallest_side = 8

    def __init__(
        self, widths: Widths, upsampling: str = "transposed", separable: bool = False, skip: float = 0.0, downsampling: str = "strided",
        color_skip: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        first, second, trunk = widths.down
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, first, 7), nn.InstanceNorm2d(first), nn.ReLU()]
        layers += [*_downsampling(first, second, downsampling), *_downsampling(second, trunk, downsampling)]
        layers += [ResidualBlock(trunk, inside, separable) for inside in widths.blocks]
        layers += [*_upsampling(trunk, widths.up[0], upsampling), *_upsampling(*widths.up, upsampling)]
        layers += [nn.ReflectionPad2d(3), PixelConv2d(widths.up[1], 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        self.skip, self.color_skip = skip, skip if color_skip is None else color_skip
        kind = "mobile_resnet" if separable else "resnet"
        self.architecture = f"{kind}_{len(widths.blocks)}blocks, channels {'-'.join(map(str, (*widths.down, *widths.up)))}"
        if inside := sorted({*widths.blocks} - {trunk}):
            self.architecture += f" (inside blocks {', '.join(map(str, inside))})"
        if downsampling == "antialiased":
            self.architecture += ", antialiased as CUT's"
            return
        self.architecture += f", {upsampling} upsampling"
        if downsampling != "strided":
            self.architecture += f", {downsampling} downsampling"
        if skip:
            self.architecture += f", skip {skip:g}"
        if self.color_skip != skip:
            self.architecture += f", color skip {self.color_skip:g}"

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        if not self.skip and not self.color_skip:
            return y
        difference = x - y
        brightness = difference.mean(dim=1, keepdim=True)
        return y + self.skip * brightness + self.color_skip * (difference - brightness)


def _downsampling(channels: int, out_channels: int, kind: str) -> list[nn.Module]:
    tail: list[nn.Module] = [nn.InstanceNorm2d(out_channels), nn.ReLU()]
    if kind == "antialiased":
        return [nn.Conv2d(channels, out_channels, 3, padding=1), *tail, Downsample(out_channels)]
    if kind == "blurred":
        return [BlurredConv2d(channels, out_channels), *tail]
    return [nn.Conv2d(channels, out_channels, 3, stride=2, padding=1), *tail]


def _upsampling(channels: int, out_channels: int, kind: str) -> list[nn.Module]:
    tail: list[nn.Module] = [nn.InstanceNorm2d(out_channels), nn.ReLU()]
    if kind == "antialiased":
        return [Upsample(channels), nn.Conv2d(channels, out_channels, 3, padding=1), *tail]
    if kind == "transposed":
        return [nn.ConvTranspose2d(channels, out_channels, 3, stride=2, padding=1, output_padding=1), *tail]
    return [nn.Upsample(scale_factor=2, mode=kind), nn.ReflectionPad2d(1), nn.Conv2d(channels, out_channels, 3), *tail]


class UnetBlock(nn.Module):
    """Halve the sides, apply the inner block, double the sides, and concatenate the result with the input (Isola et al., CVPR 2017)."""

    def __init__(self, channels: int, inner: int, inner_block: nn.Module | None) -> None:
        super().__init__()
        down = [nn.LeakyReLU(0.2), nn.Conv2d(channels, inner, 4, stride=2, padding=1)]
        up = [nn.ReLU(), nn.ConvTranspose2d(inner if inner_block is None else 2 * inner, channels, 4, stride=2, padding=1)]
        between = [] if inner_block is None else [nn.InstanceNorm2d(inner), inner_block]  # the innermost may be a single pixel
        self.model = nn.Sequential(*down, *between, *up, nn.InstanceNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], dim=1)


class UnetOutermost(nn.Module):
    """The first and the last layer, around the blocks."""

    def __init__(self, ngf: int, block: nn.Module) -> None:
        super().__init__()
        first, last = nn.Conv2d(3, ngf, 4, stride=2, padding=1), PixelConvTranspose2d(2 * ngf, 3, 4, stride=2, padding=1)
        self.model = nn.Sequential(first, block, nn.ReLU(), last, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class UnetGenerator(nn.Module):
    """pix2pix's generator. It halves the sides `n_downs` times: 7 for unet_128, 8 for unet_256."""

    def __init__(self, ngf: int = 64, n_downs: int = 8) -> None:
        super().__init__()
        widths = [ngf * min(2**level, 8) for level in range(n_downs)]
        block: nn.Module | None = None
        for level in range(n_downs - 1, 0, -1):
            block = UnetBlock(widths[level - 1], widths[level], block)
        assert block is not None
        self.model = UnetOutermost(ngf, block)
        self.multiple = self.smallest_side = 2**n_downs
        self.architecture = f"unet_{2**n_downs}, ngf {ngf}"

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


Generator = ResnetGenerator | UnetGenerator


def make_generator(config: TrainingConfig) -> Generator:
    """Return the configured generator, initialized as in the paper."""
    if config.generator.startswith("unet_"):
        return initialise(UnetGenerator(config.ngf, config.generator_multiple.bit_length() - 1))
    widths = Widths.of(config.ngf, config.n_blocks, config.trunk)
    separable = config.generator == "mobile_resnet"
    return initialise(ResnetGenerator(widths, config.upsampling, separable, config.skip, config.downsampling, config.color_skip))


def initialise(network: M) -> M:
    """Initialize convolutions from normal(0, 0.02), and biases with 0 (the paper's appendix 7.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
