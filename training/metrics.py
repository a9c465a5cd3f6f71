"""What a direction is judged by. Pictures are lists of (h, w, 3) bytes."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from training.config import ConfigError
from training.data import Pixels, to_tensor

DISTANCES = {"swd": "sliced Wasserstein distance × 10³", "fid": "FID", "kid": "KID × 10³"}
"""Figures that come with a floor and a base, by key; lower is nearer."""

SIZE = 256
LEVELS = 5
"""Laplacian levels: 256, 128, 64, 32 and 16 pixels."""
PATCH = 7
PATCHES_PER_PICTURE = 128
PROJECTIONS = 512

INCEPTION_SIDE = 299
FEATURES = 2048
KID_SUBSET = 50

Translate = Callable[[Pixels], Pixels]
"""(n, h, w, 3) bytes to the same."""
Inception = Callable[[list[Pixels]], Tensor]
"""n pictures to (n, FEATURES) doubles."""


def sliced_wasserstein(a: list[Pixels], b: list[Pixels], seed: int = 0) -> float:
    """Distance × 10³ between the 7×7 patches of two sets of pictures, the mean over five Laplacian levels.

    Karras et al., "Progressive Growing of GANs", ICLR 2018, section 5: needs no pretrained network. Lower is nearer.
    The same pictures and seed always give the same figure; the sets may be of any two sizes.
    """
    random = torch.Generator().manual_seed(seed)
    distances = [
        _distance(patches_a, patches_b, random) for patches_a, patches_b in zip(_patches(a, random), _patches(b, random), strict=True)
    ]
    return 1000 * sum(distances) / len(distances)


def _patches(pictures: list[Pixels], random: torch.Generator) -> list[Tensor]:
    """Normalised patches of every Laplacian level, (n, 3 · 7 · 7) each."""
    square = torch.cat([_square(to_tensor(pixels[None])) for pixels in pictures])
    levels = []
    for level in range(LEVELS):
        smaller = functional.interpolate(square, scale_factor=0.5, mode="area") if level < LEVELS - 1 else None
        laplacian = square
        if smaller is not None:
            laplacian = square - functional.interpolate(smaller, size=square.shape[-2:], mode="bilinear")
        levels.append(_normalised_patches(laplacian, random))
        square = smaller if smaller is not None else square
    return levels


def _square(picture: Tensor) -> Tensor:
    """The middle square of (1, 3, h, w), scaled to SIZE."""
    height, width = picture.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = picture[..., top : top + side, left : left + side]
    return functional.interpolate(middle, size=(SIZE, SIZE), mode="bilinear", antialias=True)


def _normalised_patches(pictures: Tensor, random: torch.Generator) -> Tensor:
    count, _, height, width = pictures.shape
    windows = pictures.unfold(2, PATCH, 1).unfold(3, PATCH, 1)
    rows = torch.randint(height - PATCH + 1, (count, PATCHES_PER_PICTURE), generator=random)
    columns = torch.randint(width - PATCH + 1, (count, PATCHES_PER_PICTURE), generator=random)
    patches = windows[torch.arange(count)[:, None], :, rows, columns].flatten(0, 1)
    mean, std = patches.mean(dim=(0, 2, 3), keepdim=True), patches.std(dim=(0, 2, 3), keepdim=True)
    return ((patches - mean) / std.clamp_min(1e-8)).flatten(1)


def _distance(a: Tensor, b: Tensor, random: torch.Generator) -> float:
    """The mean over random directions of the one-dimensional Wasserstein distance, at as many quantiles as fit both."""
    directions = functional.normalize(torch.randn(a.shape[1], PROJECTIONS, generator=random), dim=0)
    quantiles = torch.linspace(0, 1, min(len(a), len(b)))
    projected = [torch.sort(patches @ directions, dim=0).values for patches in (a, b)]
    at = [values[(quantiles * (len(values) - 1)).round().long()] for values in projected]
    return float((at[0] - at[1]).abs().mean())


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
    basis = torch.linalg.qr(torch.cat([a, b]).T).Q  # of what both span: the same distance, from far smaller matrices
    metric = FrechetInceptionDistance(_Given(basis.shape[1]))
    metric.update(a @ basis, real=False)
    metric.update(b @ basis, real=True)
    return max(0.0, float(metric.compute()))


def kid(a: Tensor, b: Tensor) -> float:
    """Kernel Inception Distance × 10³ between two sets of features, the mean over subsets that are drawn the same each time.

    Bińkowski et al., "Demystifying MMD GANs", ICLR 2018. Unbiased, so below 0 at times.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore", category=UserWarning):  # of its memory
        torch.manual_seed(0)
        metric = KernelInceptionDistance(_Given(a.shape[1]), subset_size=min(KID_SUBSET, len(a), len(b)))
        metric.update(a, real=False)
        metric.update(b, real=True)
        return 1000 * float(metric.compute()[0])


def closed(figures: dict[str, float], distance: str) -> str:
    """How much of the way from base to floor the translations have come, like 81%; – where the base is no farther than the floor."""
    value, floor, base = (figures[distance + part] for part in ("", "_floor", "_base"))
    return f"{(base - value) / (base - floor):.0%}" if base > floor else "–"


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures."""
    error = float(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(a: Pixels, b: Pixels) -> float:
    """Structural similarity (Wang et al., IEEE Transactions on Image Processing 2004); 1 for equal pictures."""
    x, y = (torch.tensor(pixels).permute(2, 0, 1)[None].float() for pixels in (a, b))
    return float(cast(Tensor, structural_similarity_index_measure(x, y, data_range=255.0)))


def judge(
    there: Translate,
    back: Translate,
    source: list[Pixels],
    target: list[Pixels],
    target_train: list[Pixels],
    inception: Inception | None = None,
) -> dict[str, float]:
    """The figures of one direction, from the test pictures of its domains and the training pictures of its target.

    swd: translations against the target; swd_floor: the target's own training pictures against it;
    swd_base: untranslated sources against it; the same for fid and kid, where there is an `inception`;
    cycle_psnr (dB) and cycle_ssim: between a source and itself there and back.
    """
    translations = [there(pixels[None])[0] for pixels in source]
    returned = [back(pixels[None])[0] for pixels in translations]
    sets = {"": translations, "_floor": target_train, "_base": source}
    figures = {f"swd{part}": sliced_wasserstein(pictures, target) for part, pictures in sets.items()}
    if inception is not None:
        features, wanted = {part: inception(pictures) for part, pictures in sets.items()}, inception(target)
        figures |= {f"fid{part}": fid(given, wanted) for part, given in features.items()}
        figures |= {f"kid{part}": kid(given, wanted) for part, given in features.items()}
    for name, likeness in (("cycle_psnr", psnr), ("cycle_ssim", ssim)):
        figures[name] = float(np.mean([likeness(*pair) for pair in zip(source, returned, strict=True)]))
    return {name: round(figure, 3) for name, figure in figures.items()}
