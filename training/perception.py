"""Features of a frozen network, for critics and for the content loss.

VGG-19 up to relu3_1 (Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015).
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import ConfigError

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION = [f"features.{index}" for index in (0, 2, 5, 7, 10)]
"""torchvision's names of the five convolutions up to relu3_1."""
NORMALIZED = ["2", "5", "9", "12", "16"]
"""Their names in files for style transfer. There the convolution `0` normalizes RGB in [0, 1]."""
CHANNELS = (64, 128, 256)
"""The channels of the three levels."""
Levels = tuple[Tensor, ...]


class Features(nn.Module):
    """Maps (n, 3, h, w) floats in [-1, 1] to relu1_1, relu2_1 and relu3_1, at the full, half and quarter size, with unit deviation.
    The weights are buffers that are not part of state dicts."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        """Take a state dict in either layout. Raises KeyError for another one."""
        super().__init__()
        if TORCHVISION[0] + ".weight" in weights:
            names = TORCHVISION
            deviation = torch.tensor(IMAGENET_DEVIATION)
            first = (1 / deviation).diag()[:, :, None, None], -torch.tensor(IMAGENET_MEAN) / deviation
        else:
            names = NORMALIZED
            first = weights["0.weight"], weights["0.bias"]
        for i, (weight, bias) in enumerate([first, *((weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in names)]):
            self.register_buffer(f"weight_{i}", weight.float(), persistent=False)
            self.register_buffer(f"bias_{i}", bias.float(), persistent=False)
        self.register_buffer("scales", torch.ones(3), persistent=False)
        noise = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
        with torch.no_grad():
            self.scales = torch.stack([1 / level.std() for level in self(noise)])

    def forward(self, x: Tensor) -> Levels:
        normalized = functional.conv2d((x + 1) / 2, self.get_buffer("weight_0"), self.get_buffer("bias_0"))
        first = self._convolve(normalized, 1)
        second = self._convolve(functional.max_pool2d(self._convolve(first, 2), 2), 3)
        third = self._convolve(functional.max_pool2d(self._convolve(second, 4), 2), 5)
        return first * self.scales[0], second * self.scales[1], third * self.scales[2]

    def _convolve(self, x: Tensor, i: int) -> Tensor:
        padded = functional.pad(x, (1, 1, 1, 1), mode="reflect")
        return functional.relu(functional.conv2d(padded, self.get_buffer(f"weight_{i}"), self.get_buffer(f"bias_{i}")))


def load_features(name: str) -> Features | None:
    """Load the network for the field `features`: `vgg19`, a file, or `none`. Raises ConfigError, which says where to get the file."""
    if name == "none":
        return None
    return Features(_torchvision_weights()) if name == "vgg19" else _read_features(Path(name))


def _torchvision_weights() -> dict[str, Tensor]:
    hint = "give the path of torchvision's vgg19-dcbb9e9d.pth (features=FILE), or set features=none for plain critics"
    if not find_spec("torchvision"):
        raise ConfigError(f"features=vgg19 needs the weights from torchvision, which is not installed: install it, {hint}")
    from torchvision.models import VGG19_Weights

    try:
        return dict(VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, weights_only=True))
    except (OSError, RuntimeError) as error:  # the download failed or is incomplete
        raise ConfigError(f"torchvision cannot download VGG-19's weights ({error}): {hint}") from None


def _read_features(path: Path) -> Features:
    try:
        return Features(torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:
        raise ConfigError(f"features: {path} cannot be read: {error.strerror or error}") from None
    except Exception:
        raise ConfigError(f"features: {path} has no VGG-19 weights: torchvision's vgg19-dcbb9e9d.pth is such a file") from None
