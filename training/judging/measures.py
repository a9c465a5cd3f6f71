"""Colour, grain, weave and frame: faults that people see, each measured by itself and in a unit that says how much of it there is."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data import Pixels
from training.judging.likeness import Translate

Floats = NDArray[np.float64]

COLOUR_SIDE = 32
BLOCK = 8
FLAT = 1.5
"""Standard deviation, in steps of 1/255, below which a block of the source counts as flat."""
PERIODS = (2, 4, 8)
"""Periods in pixels at which strides leave a pattern."""
SPECTRUM_SIDE = 256
GROUP = 10
GREYS = (32, 64, 96, 128, 160, 192, 224)
FLAT_SIDE = 256


def _luma(pixels: Pixels) -> Floats:
    return pixels.mean(axis=2, dtype=np.float64)


def _opponents(pixels: Pixels) -> Floats:
    """Red against green, and both against blue: (h, w, 2), in steps of 1/255."""
    red, green, blue = np.moveaxis(pixels.astype(np.float64), 2, 0)
    return np.stack([red - green, (red + green) / 2 - blue], axis=2)


def chroma(pictures: list[Pixels]) -> float:
    """How colourful pictures are: the mean length of a pixel's opponent colours, in steps of 1/255; 0 for greys."""
    return float(np.mean([np.linalg.norm(_opponents(pixels), axis=2).mean() for pixels in pictures]))


def colour_kept(sources: list[Pixels], translations: list[Pixels]) -> float:
    """Pearson's correlation of opponent colours between sources and translations, all scaled to 32×32 pixels; 1 where each colour
    stays the colour that it was, however pale. NaN for greys."""
    a, b = (np.stack([_opponents(_shrunk(pixels)) for pixels in part]).ravel() for part in (sources, translations))
    return _correlation(a, b)


def _shrunk(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX))


def contrast_kept(sources: list[Pixels], translations: list[Pixels]) -> float:
    """The translations' standard deviation of lightness over the sources', the mean over pictures; 1 where contrast stays. Pictures of
    no contrast are left out; NaN where all are."""
    pairs = [(_luma(source).std(), _luma(translation).std()) for source, translation in zip(sources, translations, strict=True)]
    ratios = [after / before for before, after in pairs if before > FLAT]
    return float(np.mean(ratios)) if ratios else float("nan")


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else float("nan")


def grain(sources: list[Pixels], translations: list[Pixels]) -> tuple[float, float]:
    """Median and 90th percentile of the translations' standard deviation, in steps of 1/255, over the blocks of 8×8 pixels where the
    source's is below 1.5: skies, walls, darks. NaN where there are no such blocks."""
    found = [_deviations(translation)[_deviations(source) < FLAT] for source, translation in zip(sources, translations, strict=True)]
    deviations = np.concatenate(found)
    if not len(deviations):
        return float("nan"), float("nan")
    return float(np.median(deviations)), float(np.percentile(deviations, 90))


def _deviations(pixels: Pixels) -> Floats:
    """Of the lightness in each block, (h / 8, w / 8)."""
    rows, columns = (side // BLOCK for side in pixels.shape[:2])
    blocks = _luma(pixels)[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return blocks.std(axis=(1, 3))


def weave(pictures: list[Pixels], period: int) -> float:
    """Power of the spectrum at `period` pixels over that of its neighbours, along rows or columns, whichever has more; about 1 for
    pictures without a pattern of that period.

    The median of means over groups of ten pictures, so that a single picket fence does not count. Pictures are cut to their middle,
    at most 256 pixels square. NaN for pictures under 128 pixels.
    """
    side = min(SPECTRUM_SIDE, *(min(pixels.shape[:2]) for pixels in pictures)) // 8 * 8
    if side < SPECTRUM_SIDE // 2:
        return float("nan")
    at = side // period
    neighbours = [k for k in range(at - 8, at + 9) if abs(k - at) > 1 and k <= side // 2]
    ratios = np.array([[line[at] / line[neighbours].mean() for line in _axes(pixels, side)] for pixels in pictures])
    means = [group.mean(axis=0) for group in np.array_split(ratios, max(1, len(ratios) // GROUP))]
    return float(np.median(means, axis=0).max())


def _axes(pixels: Pixels, side: int) -> tuple[Floats, Floats]:
    """The lightness's power spectrum along the horizontal and the vertical axis, (side,) each."""
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    middle = _luma(pixels)[top : top + side, left : left + side]
    window = np.hanning(side)
    spectrum = np.abs(np.fft.fft2((middle - middle.mean()) * np.outer(window, window))) ** 2 + 1e-3  # of a flat picture: no peak
    return spectrum[0], spectrum[:, 0]


def frame(translate: Translate) -> float:
    """The largest difference, in steps of 1/255, between a flat grey picture's translation and the same without edges, over seven greys;
    0 where the border is as the middle. "Without edges" is the middle's pattern of 8×8 pixels, repeated."""
    return max(_frame(translate(np.full((1, FLAT_SIDE, FLAT_SIDE, 3), grey, np.uint8))[0]) for grey in GREYS)


def _frame(translation: Pixels) -> float:
    middle = FLAT_SIDE // 2
    tile = translation[middle - 16 : middle + 16, middle - 16 : middle + 16].astype(np.float64).reshape(4, 8, 4, 8, 3).mean(axis=(0, 2))
    expected = np.tile(tile, (FLAT_SIDE // 8, FLAT_SIDE // 8, 1))
    return float(np.abs(translation - expected).max())
