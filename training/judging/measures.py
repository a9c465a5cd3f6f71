"""Measures of visible faults: color, grain, weave and frame."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data import Pixels
from training.judging.likeness import Translate

Floats = NDArray[np.float64]

COLOR_SIZE = (32, 32)
BLOCK = 8
FLAT = 1.5
"""Blocks of the source with a standard deviation below this, in steps of 1/255, count as flat."""
PERIODS = (2, 4, 8)
"""Periods in pixels of the patterns that strides leave."""
SPECTRUM_SIDE = 256
GROUP = 10
GRAYS = (32, 64, 96, 128, 160, 192, 224)
FLAT_SIDE = 256


def _luma(pixels: Pixels) -> Floats:
    return pixels.mean(axis=2, dtype=np.float64)


def _opponents(pixels: Pixels) -> Floats:
    """Return the opponent colors red − green and yellow − blue, (h, w, 2), in steps of 1/255."""
    red, green, blue = np.moveaxis(pixels.astype(np.float64), 2, 0)
    return np.stack([red - green, (red + green) / 2 - blue], axis=2)


def chroma(pictures: list[Pixels]) -> float:
    """Return how colorful pictures are: the mean length of a pixel's opponent colors, in steps of 1/255; 0 for grays."""
    return float(np.mean([np.linalg.norm(_opponents(pixels), axis=2).mean() for pixels in pictures]))


def color_kept(sources: list[Pixels], translations: list[Pixels]) -> float:
    """Return Pearson's correlation of opponent colors between sources and translations at 32×32 pixels; NaN for grays.
    It is 1 if each color stays the same color, even if it gets paler."""
    a, b = (
        np.stack([_opponents(np.asarray(Image.fromarray(pixels).resize(COLOR_SIZE, Image.Resampling.BOX))) for pixels in part]).ravel()
        for part in (sources, translations)
    )
    a, b = a - a.mean(), b - b.mean()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else float("nan")


def contrast_kept(sources: list[Pixels], translations: list[Pixels]) -> float:
    """Return the mean ratio of a translation's standard deviation of lightness to the source's.
    Sources without contrast are left out; NaN if all are."""
    pairs = [(_luma(source).std(), _luma(translation).std()) for source, translation in zip(sources, translations, strict=True)]
    ratios = [after / before for before, after in pairs if before > FLAT]
    return float(np.mean(ratios)) if ratios else float("nan")


def grain(sources: list[Pixels], translations: list[Pixels]) -> tuple[float, float]:
    """Return median and 90th percentile of the translations' standard deviation, in steps of 1/255, in flat blocks of 8×8 pixels.
    Flat are blocks whose standard deviation in the source is below 1.5: skies, walls, shadows. NaN if there are none."""
    flat = [_deviations(translation)[_deviations(source) < FLAT] for source, translation in zip(sources, translations, strict=True)]
    deviations = np.concatenate(flat)
    if not len(deviations):
        return float("nan"), float("nan")
    return float(np.median(deviations)), float(np.percentile(deviations, 90))


def _deviations(pixels: Pixels) -> Floats:
    """Return the standard deviation of the lightness in each block, (h / 8, w / 8)."""
    rows, columns = (side // BLOCK for side in pixels.shape[:2])
    blocks = _luma(pixels)[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return blocks.std(axis=(1, 3))


def weave(pictures: list[Pixels], period: int) -> float:
    """Return the power of the spectrum at `period` pixels divided by that of neighboring periods; about 1 without such a pattern.

    The larger value of rows and columns counts. It is the median of means over groups of ten pictures, so that a single picket fence
    has no effect. Pictures are cut to their middle, at most 256 pixels square. NaN for pictures under 128 pixels.
    """
    side = min(SPECTRUM_SIDE, *(min(pixels.shape[:2]) for pixels in pictures)) // 8 * 8
    if side < SPECTRUM_SIDE // 2:
        return float("nan")
    at = side // period
    neighbors = [k for k in range(at - 8, at + 9) if abs(k - at) > 1 and k <= side // 2]
    ratios = np.array([[line[at] / line[neighbors].mean() for line in _axes(pixels, side)] for pixels in pictures])
    means = [group.mean(axis=0) for group in np.array_split(ratios, max(1, len(ratios) // GROUP))]
    return float(np.median(means, axis=0).max())


def _axes(pixels: Pixels, side: int) -> tuple[Floats, Floats]:
    """Return the power spectrum of the lightness along the horizontal and the vertical axis, (side,) each."""
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    middle = _luma(pixels)[top : top + side, left : left + side]
    window = np.hanning(side)
    spectrum = np.abs(np.fft.fft2((middle - middle.mean()) * np.outer(window, window))) ** 2 + 1e-3  # no peak in flat pictures
    return spectrum[0], spectrum[:, 0]


def frame(translate: Translate) -> float:
    """Return the largest difference, in steps of 1/255, between border and middle in translations of seven flat gray pictures.
    The pattern of 8×8 pixels in the middle, repeated, is what the translation would be without a border."""
    middle = slice(FLAT_SIDE // 2 - 16, FLAT_SIDE // 2 + 16)
    differences = []
    for gray in GRAYS:
        translation = translate(np.full((1, FLAT_SIDE, FLAT_SIDE, 3), gray, np.uint8))[0]
        tile = translation[middle, middle].astype(np.float64).reshape(4, 8, 4, 8, 3).mean(axis=(0, 2))
        differences.append(np.abs(translation - np.tile(tile, (FLAT_SIDE // 8, FLAT_SIDE // 8, 1))).max())
    return float(max(differences))
