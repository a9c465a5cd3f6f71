"""Features of a network that has learned to see: what critics may look at, and what says how much of a picture's content is kept.

VGG-19 up to relu3_1 (Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015), frozen.
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
NORMALISED = ["2", "5", "9", "12", "16"]
"""The names of those in files for style transfer, whose convolution `0` takes RGB in [0, 1] to the network's own input."""
CHANNELS = (64, 128, 256)
"""Of the three levels."""
Levels = tuple[Tensor, ...]


class Features(nn.Module):
    """(n, 3, h, w) floats in [-1, 1] to relu1_1, relu2_1 and relu3_1: 64, 128 and 256 channels at a whole, a half and a quarter of the
    sides, each level of about unit deviation. Its weights are no parameters, and in no checkpoint."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        """Of a state dict of either layout. Raises KeyError where it is of neither."""
        super().__init__()
        if TORCHVISION[0] + ".weight" in weights:
            names = TORCHVISION
            deviation = torch.tensor(IMAGENET_DEVIATION)
            first = (1 / deviation).diag()[:, :, None, None], -torch.tensor(IMAGENET_MEAN) / deviation
        else:
            names = NORMALISED
            first = weights["0.weight"], weights["0.bias"]
        for number, (weight, bias) in enumerate([first, *((weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in names)]):
            self.register_buffer(f"weight_{number}", weight.float(), persistent=False)
            self.register_buffer(f"bias_{number}", bias.float(), persistent=False)
        self.register_buffer("scales", torch.ones(3), persistent=False)
        noise = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
        with torch.no_grad():
            self.scales = torch.stack([1 / level.std() for level in self(noise)])

    def forward(self, x: Tensor) -> Levels:
        own = functional.conv2d((x + 1) / 2, self.get_buffer("weight_0"), self.get_buffer("bias_0"))
        first = self._convolved(own, 1)
        second = self._convolved(functional.max_pool2d(self._convolved(first, 2), 2), 3)
        third = self._convolved(functional.max_pool2d(self._convolved(second, 4), 2), 5)
        return first * self.scales[0], second * self.scales[1], third * self.scales[2]

    def _convolved(self, x: Tensor, number: int) -> Tensor:
        padded = functional.pad(x, (1, 1, 1, 1), mode="reflect")
        return functional.relu(functional.conv2d(padded, self.get_buffer(f"weight_{number}"), self.get_buffer(f"bias_{number}")))


def load_features(name: str) -> Features | None:
    """As the configuration's `features` has it: `vgg19`, a file's path, or `none`. Raises ConfigError, which says where to get the file."""
    if name == "none":
        return None
    return Features(_torchvision_weights()) if name == "vgg19" else _read_features(Path(name))


def _torchvision_weights() -> dict[str, Tensor]:
    help_text = "give torchvision's vgg19-dcbb9e9d.pth by its path (features=FILE), or set features=none for plain critics"
    if not find_spec("torchvision"):
        raise ConfigError(f"features=vgg19 takes the weights from torchvision, which is not installed: install it, {help_text}")
    from torchvision.models import VGG19_Weights

    try:
        return dict(VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, weights_only=True))
    except (OSError, RuntimeError) as error:  # not to be fetched, or not whole
        raise ConfigError(f"torchvision cannot fetch VGG-19's weights ({error}): {help_text}") from None


def _read_features(path: Path) -> Features:
    try:
        return Features(torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:
        raise ConfigError(f"features: {path} cannot be read: {error.strerror or error}") from None
    except Exception:
        raise ConfigError(f"features: {path} holds no VGG-19 weights: torchvision's vgg19-dcbb9e9d.pth is such a file") from None
