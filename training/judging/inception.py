"""FID and KID with the features of InceptionV3, if a file of it is given."""

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
    """Load InceptionV3 from a TorchScript file. It sees the middle square of each picture at 299 × 299 pixels.

    It is called as `net(images, return_features=True)`, like NVIDIA's, or else as `net(images)`, with (n, 3, h, w) bytes.
    Raises ConfigError if the result is not (n, 2048) features.
    """

    def features(pictures: list[Pixels]) -> Tensor:
        with torch.no_grad():
            return torch.cat([network(_square(pixels), **options) for pixels in pictures]).double()

    try:
        network = torch.jit.load(file, map_location="cpu").eval()
        arguments = {argument.name for argument in network.forward.schema.arguments}
        options = {"return_features": True} if "return_features" in arguments else {}
        shape = features([np.zeros((INCEPTION_SIDE, INCEPTION_SIDE, 3), np.uint8)]).shape
        if shape != (1, FEATURES):
            raise ValueError(f"a picture gives {tuple(shape)}")
    except Exception as error:  # the file contains arbitrary code
        raise ConfigError(
            f"{file} is not a TorchScript file of an InceptionV3 that turns (n, 3, h, w) bytes into (n, {FEATURES}) features: "
            "use one with --inception, like NVIDIA's inception-2015-12-05.pt, or leave it out"
        ) from error
    return features


def _square(pixels: Pixels) -> Tensor:
    square = ImageOps.fit(Image.fromarray(pixels), (INCEPTION_SIDE, INCEPTION_SIDE), Image.Resampling.BICUBIC)
    return torch.tensor(np.asarray(square)).permute(2, 0, 1)[None]


class _Precomputed(nn.Identity):
    """Replaces torchmetrics' network, which then takes features instead of pictures."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def fid(a: Tensor, b: Tensor) -> float:
    """Return the Fréchet Inception Distance between two sets of features, (n, d) and (m, d) with n, m ≥ 2.
    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017. Biased upwards for small sets."""
    from torchmetrics.image.fid import FrechetInceptionDistance  # takes seconds

    basis = torch.linalg.qr(torch.cat([a, b]).T).Q  # in the span of both the distance is the same, but the matrices are far smaller
    metric = FrechetInceptionDistance(_Precomputed(basis.shape[1]))
    metric.update(a @ basis, real=False)
    metric.update(b @ basis, real=True)
    return max(0.0, float(metric.compute()))


def kid(a: Tensor, b: Tensor) -> float:
    """Return the Kernel Inception Distance × 10³ between two sets of features, averaged over fixed random subsets.
    Bińkowski et al., "Demystifying MMD GANs", ICLR 2018. Unbiased, so it can be below 0."""
    from torchmetrics.image.kid import KernelInceptionDistance

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore", category=UserWarning):  # about memory
        torch.manual_seed(0)
        metric = KernelInceptionDistance(_Precomputed(a.shape[1]), subset_size=min(KID_SUBSET, len(a), len(b)))
        metric.update(a, real=False)
        metric.update(b, real=True)
        return 1000 * float(metric.compute()[0])
