"""The generator of CUT (Park et al., "Contrastive Learning for Unpaired Image-to-Image Translation", ECCV 2020), as it is imported.

Its strides blur (Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019): each convolution keeps the size, and a filter
of its own, `filt`, halves or doubles it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.generators import PixelConv2d, ResidualBlock, ResnetGenerator, Widths


class _Filter(nn.Module):
    """A binomial filter a channel."""

    def __init__(self, channels: int, taps: tuple[float, ...], scale: float) -> None:
        super().__init__()
        row = torch.tensor(taps) / sum(taps)
        self.register_buffer("filt", (scale * row[:, None] * row).repeat(channels, 1, 1, 1))
        self.channels = channels

    @property
    def kernel(self) -> Tensor:
        return self.get_buffer("filt")


class Downsample(_Filter):
    """(n, c, h, w) to half of the sides."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, (1.0, 2.0, 1.0), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), self.kernel, stride=2, groups=self.channels)


class Upsample(_Filter):
    """(n, c, h, w) to twice the sides."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, (1.0, 3.0, 3.0, 1.0), 4.0)

    def forward(self, x: Tensor) -> Tensor:
        spread = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        return functional.conv_transpose2d(spread, self.kernel, stride=2, padding=2, groups=self.channels)[:, :, 1:-1, 1:-1]


class AntialiasedGenerator(ResnetGenerator):
    """A ResNet whose halvings blur, and whose doublings do where `blurred_up` says so."""

    def __init__(self, widths: Widths, blurred_up: bool = True) -> None:
        nn.Module.__init__(self)
        first, second, trunk = widths.down
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, first, 7), nn.InstanceNorm2d(first), nn.ReLU()]
        for channels, wider in ((first, second), (second, trunk)):
            layers += [nn.Conv2d(channels, wider, 3, padding=1), nn.InstanceNorm2d(wider), nn.ReLU(), Downsample(wider)]
        layers += [ResidualBlock(trunk, inside, separable=False) for inside in widths.blocks]
        for channels, narrower in ((trunk, widths.up[0]), widths.up):
            up: list[nn.Module] = [nn.ConvTranspose2d(channels, narrower, 3, stride=2, padding=1, output_padding=1)]
            if blurred_up:
                up = [Upsample(channels), nn.Conv2d(channels, narrower, 3, padding=1)]
            layers += [*up, nn.InstanceNorm2d(narrower), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), PixelConv2d(widths.up[1], 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        self.skip = self.color_skip = 0.0
        across = "-".join(map(str, (*widths.down, *widths.up)))
        self.architecture = f"resnet_{len(widths.blocks)}blocks, channels {across}, antialiased as CUT's"
