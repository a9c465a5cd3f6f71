"""FID and KID by InceptionV3, where a file of it is given."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from training.config import ConfigError
from training.data import Pixels

INCEPTION_SIDE = 299
FEATURES = 2048
KID_SUBSET = 50

Inception = Callable[[list[Pixels]], Tensor]
"""n pictures to (n, FEATURES) doubles."""


def load_inception(file: Path) -> Inception:
    """The InceptionV3 in a TorchScript file, which sees the middle square of each picture at 299 × 299 pixels.

    It is called like NVIDIA's, `net(images, return_features=True)`, or else `net(images)`, with (n, 3, h, w) bytes.
    Raises ConfigError for a file that does not give (n, 2048) features.
    """

    def features(pictures: list[Pixels]) -> Tensor:
        with torch.no_grad():
            return torch.cat([network(_inception_square(pixels), **options) for pixels in pictures]).double()

    try:
        network = torch.jit.load(file, map_location="cpu").eval()
        arguments = {argument.name for argument in network.forward.schema.arguments}
        options = {"return_features": True} if "return_features" in arguments else {}
        shape = features([np.zeros((INCEPTION_SIDE, INCEPTION_SIDE, 3), np.uint8)]).shape
        if shape != (1, FEATURES):
            raise ValueError(f"a picture gives {tuple(shape)}")
    except Exception as error:  # whatever the file holds has been run
        raise ConfigError(
            f"{file} is no TorchScript file of an InceptionV3 that turns (n, 3, h, w) bytes into (n, {FEATURES}) features: "
            "give --inception one, like NVIDIA's inception-2015-12-05.pt, or leave FID and KID out"
        ) from error
    return features


def _inception_square(pixels: Pixels) -> Tensor:
    square = ImageOps.fit(Image.fromarray(pixels), (INCEPTION_SIDE, INCEPTION_SIDE), Image.Resampling.BICUBIC)
    return torch.tensor(np.asarray(square)).permute(2, 0, 1)[None]


class _Given(nn.Identity):
    """In place of torchmetrics' network: it is given features instead of pictures, so that each picture's are made once."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def fid(a: Tensor, b: Tensor) -> float:
    """Fréchet Inception Distance between two sets of features, (n, d) and (m, d), of two pictures each at least.

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017. Biased upwards for small sets.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # which takes seconds

    basis = torch.linalg.qr(torch.cat([a, b]).T).Q  # of what both span: the same distance, from far smaller matrices
    metric = FrechetInceptionDistance(_Given(basis.shape[1]))
    metric.update(a @ basis, real=False)
    metric.update(b @ basis, real=True)
    return max(0.0, float(metric.compute()))


def kid(a: Tensor, b: Tensor) -> float:
    """Kernel Inception Distance × 10³ between two sets of features, the mean over subsets that are drawn the same each time.

    Bińkowski et al., "Demystifying MMD GANs", ICLR 2018. Unbiased, so below 0 at times.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore", category=UserWarning):  # of its memory
        torch.manual_seed(0)
        metric = KernelInceptionDistance(_Given(a.shape[1]), subset_size=min(KID_SUBSET, len(a), len(b)))
        metric.update(a, real=False)
        metric.update(b, real=True)
        return 1000 * float(metric.compute()[0])
