"""Generators: (n, 3, h, w) floats in [-1, 1] to the same.

Each keeps the module indices that most published CycleGAN checkpoints have in their weights' names, and says of itself
`architecture`, `multiple` (what height and width must be multiples of) and `smallest_side`.
"""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import TrainingConfig

M = TypeVar("M", bound=nn.Module)


class PixelConv2d(nn.Conv2d):
    """A last convolution, in fp32 under autocast too: bf16 pixels are too coarse to learn from."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class PixelConvTranspose2d(nn.ConvTranspose2d):
    """A last transposed convolution, in fp32 too."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float(), output_size)


class BlurredConv2d(nn.Conv2d):
    """A 3×3 convolution with stride 2 of what a binomial filter has blurred before, so that the stride does not alias, mirrored at the
    borders (Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 3, stride=2)
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("blur", (taps[:, None] * taps).expand(channels, 1, 4, 4).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        mirrored = functional.pad(x, (2, 2, 2, 2), mode="reflect")
        return super().forward(functional.conv2d(mirrored, self.get_buffer("blur").to(x.dtype), groups=self.in_channels))


class SeparableConv2d(nn.Module):
    """A 3×3 convolution a channel, a norm, and a 1×1 convolution across (Li et al., "GAN Compression", CVPR 2020)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, groups=channels),
            nn.InstanceNorm2d(channels),
            nn.Conv2d(channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ResidualBlock(nn.Module):
    """x + conv_block(x), with no ReLU after the sum (Johnson et al., ECCV 2016)."""

    def __init__(self, channels: int, inside: int, separable: bool) -> None:
        super().__init__()

        def convolution(channels: int, out_channels: int) -> nn.Module:
            return SeparableConv2d(channels, out_channels) if separable else nn.Conv2d(channels, out_channels, 3)

        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            convolution(channels, inside),
            nn.InstanceNorm2d(inside),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            convolution(inside, channels),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


@dataclass(frozen=True)
class Widths:
    """Channels of a ResNet generator, layer by layer."""

    down: tuple[int, int, int]
    """After the first convolution and the two with stride; the last is the residual blocks' own."""
    blocks: tuple[int, ...]
    """Inside each residual block."""
    up: tuple[int, int]
    """After the two upsamplings."""

    @classmethod
    def of(cls, ngf: int, n_blocks: int, trunk: int | None = None) -> "Widths":
        """The paper's: ngf, 2 ngf, 4 ngf, and back; or with `trunk` channels in the middle."""
        trunk = trunk or 4 * ngf
        return cls((ngf, 2 * ngf, trunk), (trunk,) * n_blocks, (2 * ngf, ngf))


class ResnetGenerator(nn.Module):
    """The paper's generator: two convolutions with stride, residual blocks, two upsamplings."""

    multiple = 4
    smallest_side = 8

    def __init__(
        self,
        widths: Widths,
        upsampling: str = "transposed",
        separable: bool = False,
        skip: float = 0.0,
        downsampling: str = "strided",
        color_skip: float | None = None,
    ) -> None:
        super().__init__()
        first, second, trunk = widths.down
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, first, 7), nn.InstanceNorm2d(first), nn.ReLU()]
        for channels, wider in ((first, second), (second, trunk)):
            layers += [_downsampling(channels, wider, downsampling), nn.InstanceNorm2d(wider), nn.ReLU()]
        layers += [ResidualBlock(trunk, inside, separable) for inside in widths.blocks]
        for channels, narrower in ((trunk, widths.up[0]), widths.up):
            layers += [*_upsampling(channels, narrower, upsampling), nn.InstanceNorm2d(narrower), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), PixelConv2d(widths.up[1], 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        self.skip, self.color_skip = skip, skip if color_skip is None else color_skip
        kind = "mobile_resnet" if separable else "resnet"
        self.architecture = f"{kind}_{len(widths.blocks)}blocks, channels {_run(widths)}, {upsampling} upsampling"
        if downsampling != "strided":
            self.architecture += f", {downsampling} downsampling"
        if skip:
            self.architecture += f", skip {skip:g}"
        if self.color_skip != skip:
            self.architecture += f", color skip {self.color_skip:g}"

    def forward(self, x: Tensor) -> Tensor:
        made = self.model(x)
        if not self.skip and not self.color_skip:
            return made
        missing = x - made
        brightness = missing.mean(dim=1, keepdim=True)
        return made + self.skip * brightness + self.color_skip * (missing - brightness)


def _run(widths: Widths) -> str:
    inside = sorted({*widths.blocks} - {widths.down[2]})
    blocks = f" (inside blocks {', '.join(map(str, inside))})" if inside else ""
    return "-".join(map(str, (*widths.down, *widths.up))) + blocks


def _downsampling(channels: int, out_channels: int, kind: str) -> nn.Module:
    return BlurredConv2d(channels, out_channels) if kind == "blurred" else nn.Conv2d(channels, out_channels, 3, stride=2, padding=1)


def _upsampling(channels: int, out_channels: int, kind: str) -> list[nn.Module]:
    if kind == "transposed":
        return [nn.ConvTranspose2d(channels, out_channels, 3, stride=2, padding=1, output_padding=1)]
    return [nn.Upsample(scale_factor=2, mode=kind), nn.ReflectionPad2d(1), nn.Conv2d(channels, out_channels, 3)]


class UnetBlock(nn.Module):
    """Down, what is inside, and up again, with the input beside it (Isola et al., CVPR 2017)."""

    def __init__(self, channels: int, inner: int, inside: nn.Module | None) -> None:
        super().__init__()
        down = [nn.LeakyReLU(0.2), nn.Conv2d(channels, inner, 4, stride=2, padding=1)]
        up = [nn.ReLU(), nn.ConvTranspose2d(inner if inside is None else 2 * inner, channels, 4, stride=2, padding=1)]
        between = [] if inside is None else [nn.InstanceNorm2d(inner), inside]  # the innermost may be a single pixel
        self.model = nn.Sequential(*down, *between, *up, nn.InstanceNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], dim=1)


class UnetOutermost(nn.Module):
    """A picture in, a picture out."""

    def __init__(self, ngf: int, inside: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, ngf, 4, stride=2, padding=1),
            inside,
            nn.ReLU(),
            PixelConvTranspose2d(2 * ngf, 3, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class UnetGenerator(nn.Module):
    """pix2pix's generator: `n_downs` halvings, 7 for unet_128 and 8 for unet_256, and as many doublings."""

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
    """A generator as `config` describes it, initialised from normal(0, 0.02) as in the paper."""
    if config.generator.startswith("unet_"):
        return initialise(UnetGenerator(config.ngf, config.generator_multiple.bit_length() - 1))
    widths = Widths.of(config.ngf, config.n_blocks, config.trunk)
    separable = config.generator == "mobile_resnet"
    return initialise(ResnetGenerator(widths, config.upsampling, separable, config.skip, config.downsampling, config.color_skip))


def initialise(network: M) -> M:
    """Convolutions from normal(0, 0.02), biases 0 (the paper's appendix 7.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
