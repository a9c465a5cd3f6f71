"""Networks as others publish them, built by hand."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class Published(nn.Module):
    """A network under the name `model`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Skip(Published):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], 1)


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Separable(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        depthwise, pointwise = nn.Conv2d(channels, channels, 3, groups=channels), nn.Conv2d(channels, out, 1)
        self.conv = nn.Sequential(depthwise, nn.InstanceNorm2d(channels), pointwise)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def resnet(
    blocks: tuple[int, ...] = (16,), down: tuple[int, int, int] = (4, 8, 16), up: tuple[int, int] = (8, 4), *,
    dropout: bool = False, separable: bool = False, nearest: bool = False, affine: bool = False, colours: int = 3,
) -> Published:  # fmt: skip
    def norm(channels: int) -> list[nn.Module]:
        return [nn.InstanceNorm2d(channels, affine=affine), nn.ReLU(True)]

    def block(inside: int) -> nn.Module:
        first, second = (
            (Separable(down[2], inside), Separable(inside, down[2]))
            if separable
            else (nn.Conv2d(down[2], inside, 3), nn.Conv2d(inside, down[2], 3))
        )
        shift = [nn.Dropout(0.5)] if dropout else []
        return Residual(nn.ReflectionPad2d(1), first, *norm(inside), *shift, nn.ReflectionPad2d(1), second, norm(down[2])[0])

    def upsampling(channels: int, out: int) -> list[nn.Module]:
        if nearest:
            return [nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1), nn.Conv2d(channels, out, 3)]
        return [nn.ConvTranspose2d(channels, out, 3, stride=2, padding=1, output_padding=1)]

    return Published(
        nn.Sequential(
            *(nn.ReflectionPad2d(3), nn.Conv2d(colours, down[0], 7), *norm(down[0])),
            *(nn.Conv2d(down[0], down[1], 3, stride=2, padding=1), *norm(down[1])),
            *(nn.Conv2d(down[1], down[2], 3, stride=2, padding=1), *norm(down[2])),
            *map(block, blocks),
            *(*upsampling(down[2], up[0]), *norm(up[0])),
            *(*upsampling(up[0], up[1]), *norm(up[1])),
            *(nn.ReflectionPad2d(3), nn.Conv2d(up[1], colours, 7), nn.Tanh()),
        )
    )


def unet(downs: int, ngf: int = 4) -> Published:
    def down(channels: int, out: int) -> nn.Module:
        return nn.Conv2d(channels, out, 4, stride=2, padding=1)

    def up(channels: int, out: int) -> nn.Module:
        return nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1)

    leaky, relu, norm = nn.LeakyReLU(0.2, True), nn.ReLU(True), nn.InstanceNorm2d
    deep, *outwards = [ngf, 2 * ngf, 4 * ngf, *[8 * ngf] * (downs - 3)][::-1]
    inside: nn.Module = Skip(nn.Sequential(leaky, down(outwards[0], deep), relu, up(deep, outwards[0]), norm(outwards[0])))
    for inner, outer in pairwise(outwards):
        between = nn.Sequential(leaky, down(outer, inner), norm(inner), inside, relu, up(2 * inner, outer), norm(outer), nn.Dropout(0.5))
        inside = Skip(between)
    return Published(Published(nn.Sequential(down(3, ngf), inside, relu, up(2 * ngf, 3), nn.Tanh())))


class Blur(nn.Module):
    """CUT's, by Zhang's published layer: a padding, and a binomial filter a channel."""

    def __init__(self, channels: int, taps: list[float], scale: float) -> None:
        super().__init__()
        filt = torch.tensor(taps)[:, None] * torch.tensor(taps)
        self.register_buffer("filt", (scale * filt / filt.sum())[None, None].repeat(channels, 1, 1, 1))


class BlurDown(Blur):
    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1), "reflect"), self.filt, stride=2, groups=x.shape[1])


class BlurUp(Blur):
    def forward(self, x: Tensor) -> Tensor:
        wide = functional.conv_transpose2d(functional.pad(x, (1, 1, 1, 1), "replicate"), self.filt, stride=2, padding=2, groups=x.shape[1])
        return wide[:, :, 1:, 1:][:, :, :-1, :-1]


def cut(blurred_up: bool = True) -> Published:
    def norm(channels: int) -> list[nn.Module]:
        return [nn.InstanceNorm2d(channels), nn.ReLU(True)]

    def down(channels: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, out, 3, padding=1), *norm(out), BlurDown(out, [1.0, 2, 1], 1)]

    def up(channels: int, out: int) -> list[nn.Module]:
        if not blurred_up:
            return [nn.ConvTranspose2d(channels, out, 3, stride=2, padding=1, output_padding=1), *norm(out)]
        return [BlurUp(channels, [1.0, 3, 3, 1], 4), nn.Conv2d(channels, out, 3, padding=1), *norm(out)]

    def block() -> nn.Module:
        pad, conv = nn.ReflectionPad2d(1), nn.Conv2d
        return Residual(pad, conv(16, 16, 3), *norm(16), pad, conv(16, 16, 3), norm(16)[0])

    first, last = nn.Conv2d(3, 4, 7), nn.Conv2d(4, 3, 7)
    layers = [nn.ReflectionPad2d(3), first, *norm(4), *down(4, 8), *down(8, 16), block(), block(), *up(16, 8), *up(8, 4)]
    return Published(nn.Sequential(*layers, nn.ReflectionPad2d(3), last, nn.Tanh()))


def patchgan() -> Published:
    def convolution(channels: int, out: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, out, 4, stride, 1), nn.InstanceNorm2d(out), nn.LeakyReLU(0.2)]

    first, last = convolution(3, 4, 2), convolution(32, 1, 1)
    layers = [*convolution(4, 8, 2), *convolution(8, 16, 2), *convolution(16, 32, 1)]
    return Published(nn.Sequential(first[0], first[2], *layers, last[0]))
