"""The figures of a direction, their meaning, and a score to choose checkpoints by."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from training.data import Pixels
from training.judging import measures
from training.judging.features import balance, compute_maps, content, content_kept, kernel_distance, stack, style
from training.judging.inception import Inception, fid, kid
from training.judging.likeness import Likeness, Translate, psnr, shift_consistency, ssim

Figures = dict[str, float]
SHIFTED = 24
"""The most pictures to measure shift consistency on, since each is translated once more."""

DISTANCES = {
    "kid": "KID × 10³ (EfficientNet)",
    "style": "KID × 10³ (VGG-19)",
    "fid": "FID",
    "inception_kid": "KID × 10³ (Inception)",
}
"""Distances to the target's test pictures; lower is better. The floor is the distance of the target's training pictures, and the base
that of the untranslated sources."""


@dataclass(frozen=True)
class Row:
    """How a figure is shown."""

    key: str
    name: str
    meaning: str
    digits: int = 2


FAR = "how far the translations, as a set, are from the target's test pictures; lower is nearer"
GRAIN = "deviation in blocks of 8×8 pixels that are flat in the source, in steps of 1/255; lower is cleaner"
WEAVE = "spectral peak over its neighbours; 1: no pattern of this period"
ROWS = (
    *(Row(key, name, FAR, 1) for key, name in DISTANCES.items()),
    Row("content", "content kept", "correlation of what a network sees in source and translation; 1: all is where it was"),
    Row("content_vgg", "content kept (VGG-19)", "the same by VGG-19's relu3_1"),
    Row("contrast", "contrast kept", "deviation of lightness over the source's"),
    Row("colour", "colour kept", "correlation of colours at 32×32 pixels; 1: greens are green, reds are red"),
    Row("chroma", "mean chroma", "how colourful, in steps of 1/255; the floor is the target's", 1),
    Row("grain", "grain, median", GRAIN, 1),
    Row("grain_90", "grain, 90th percentile", "the same in the worst tenth", 1),
    *(Row(f"weave_{period}", f"weave of {period} pixels", WEAVE) for period in measures.PERIODS),
    Row("frame", "frame", "largest difference between border and middle of a flat picture, in steps of 1/255; 0: none", 0),
    Row(
        "shift_psnr",
        "shift consistency, dB",
        "translation of a picture moved by 1 to 3 pixels, and its translation, moved; higher is steadier",
        1,
    ),
    Row("cycle_psnr", "cycle PSNR, dB", "a picture there and back, against itself", 1),
    Row("cycle_ssim", "cycle SSIM", "the same by structural similarity"),
    Row("cycle_lpips", "cycle LPIPS", "the same by what AlexNet sees; 0: no difference"),
)


class Judge:
    """Computes the figures of one direction. The features of real pictures are computed once.

    `source` and `target` are test pictures, `target_train` training pictures; at least two of each. `networks` are by figure: "kid"
    (EfficientNet-Lite0) and "style" (VGG-19), or neither.
    """

    def __init__(
        self, source: list[Pixels], target: list[Pixels], target_train: list[Pixels], networks: Mapping[str, nn.Module],
        inception: Inception | None = None, lpips: Likeness | None = None,
    ) -> None:  # fmt: skip
        self.source = source
        self._networks = networks
        self._inception = inception
        self._likenesses = {"cycle_psnr": psnr, "cycle_ssim": ssim} | ({"cycle_lpips": lpips} if lpips else {})
        self._reals: dict[str, list[Tensor]] = {}
        self._targets: dict[str, Tensor] = {}
        self._contents: dict[str, list[Tensor]] = {}
        self._baselines: Figures = {}
        for key, network in networks.items():
            self._reals[key] = stack(map(style, compute_maps(network, target_train)))
            self._targets[key] = balance(stack(map(style, compute_maps(network, target))), self._reals[key])
            analyzed = [(style(levels), content(levels)) for levels in compute_maps(network, source)]
            self._contents[key] = [kept for _, kept in analyzed]
            base = self._distance(key, stack(styles for styles, _ in analyzed))
            self._baselines |= {f"{key}_floor": self._distance(key, self._reals[key]), f"{key}_base": base}
        if inception is not None:
            self._target_features = inception(target)
            self._baselines |= self._inception_distances(target_train, "_floor") | self._inception_distances(source, "_base")
        for suffix, pictures in (("_floor", target), ("_base", source)):
            self._baselines[f"chroma{suffix}"] = measures.chroma(pictures)
            self._baselines |= {f"weave_{period}{suffix}": measures.weave(pictures, period) for period in measures.PERIODS}
        self._baselines |= dict(zip(("grain_base", "grain_90_base"), measures.grain(source, source), strict=True))

    def figures(self, there: Translate, back: Translate | None = None) -> tuple[Figures, list[Pixels]]:
        """Return the figures and the translations. Figures that cannot be measured on these pictures are left out.

        `x_floor` is the value of figure `x` for real pictures of the target, `x_base` for untranslated sources. The cycle figures need
        `back`.
        """
        translations = [there(pixels[None])[0] for pixels in self.source]
        pairs = (self.source, translations)
        figures = dict(self._baselines)
        for key, network in self._networks.items():
            styles, kept = [], []
            for levels, source_content in zip(compute_maps(network, translations), self._contents[key], strict=True):
                styles.append(style(levels))
                kept.append(content_kept(source_content, content(levels)))
            figures[key] = self._distance(key, stack(styles))
            figures["content" if key == "kid" else "content_vgg"] = float(np.mean(kept))
        if self._inception is not None:
            figures |= self._inception_distances(translations, "")
        figures |= {
            "contrast": measures.contrast_kept(*pairs),
            "colour": measures.color_kept(*pairs),
            "chroma": measures.chroma(translations),
            "frame": measures.frame(there),
            "shift_psnr": shift_consistency(there, self.source[:SHIFTED], translations[:SHIFTED]),
        }
        figures |= dict(zip(("grain", "grain_90"), measures.grain(*pairs), strict=True))
        figures |= {f"weave_{period}": measures.weave(translations, period) for period in measures.PERIODS}
        if back is not None:
            returned = [back(pixels[None])[0] for pixels in translations]
            for name, likeness in self._likenesses.items():
                figures[name] = float(np.mean([likeness(*pair) for pair in zip(self.source, returned, strict=True)]))
        return {name: round(figure, 3) for name, figure in figures.items() if math.isfinite(figure)}, translations

    def _distance(self, key: str, styles: list[Tensor]) -> float:
        return kernel_distance(balance(styles, self._reals[key]), self._targets[key])

    def _inception_distances(self, pictures: list[Pixels], suffix: str) -> Figures:
        assert self._inception is not None
        features = self._inception(pictures)
        return {f"fid{suffix}": fid(features, self._target_features), f"inception_kid{suffix}": kid(features, self._target_features)}


def share_closed(figures: Mapping[str, float], key: str) -> float | None:
    """Return the share of the distance from base to floor that the translations close. None if the base is not above the floor."""
    value, floor, base = (figures.get(key + part, math.nan) for part in ("", "_floor", "_base"))
    return (base - value) / (base - floor) if base > floor else None


def closed(figures: Mapping[str, float], key: str) -> str:
    """Format `share_closed`, like 81%, or – for None."""
    share = share_closed(figures, key)
    return "–" if share is None else f"{share:.0%}"


def table(figures: Mapping[str, float]) -> list[tuple[Row, list[str]]]:
    """Return a row for each existing figure, with its formatted value, floor, base, and for distances the closed share."""
    rows = []
    for row in ROWS:
        if row.key in figures:
            cells = [f"{figures[key]:.{row.digits}f}" if key in figures else "" for key in (row.key, f"{row.key}_floor", f"{row.key}_base")]
            rows.append((row, [*cells, closed(figures, row.key) if row.key in DISTANCES else ""]))
    return rows


FAULTS: dict[str, tuple[float, float, Callable[[float], float]]] = {
    "content": (0.55, 0.2, lambda value: -value),
    "colour": (0.88, 0.2, lambda value: -value),
    "grain": (2.0, 4.0, float),
    "grain_90": (6.0, 8.0, float),
    "weave_2": (1.3, 4.0, float),
    "weave_4": (1.3, 4.0, float),
    "weave_8": (1.3, 4.0, float),
    "frame": (3.0, 60.0, float),
    "shift_psnr": (32.0, 16.0, lambda value: -value),
}
"""For each fault: the allowed value, the excess that costs a tenth of the score, and a function that grows as the figure gets worse."""


def faults(figures: Mapping[str, float]) -> list[str]:
    """Return the names of the figures that are worse than `FAULTS` allows."""
    beyond = {key for key, (allowed, _, worse) in FAULTS.items() if key in figures and worse(figures[key]) > worse(allowed)}
    return [row.name for row in ROWS if row.key in beyond]


def score(figures: Mapping[str, float]) -> float:
    """Return a number to choose a checkpoint by; higher is better.

    It is the mean closed share of the distances, at most 1 each, minus up to two tenths for each fault, in proportion to its excess over
    what `FAULTS` allows, and for a chroma that differs from the target's.
    """
    shares = [share for key in DISTANCES if (share := share_closed(figures, key)) is not None]
    total = float(np.mean([min(share, 1.0) for share in shares])) if shares else 0.0
    for key, (allowed, tenth, worse) in FAULTS.items():
        if key in figures:
            total -= 0.1 * min(2.0, max(0.0, (worse(figures[key]) - worse(allowed)) / tenth))
    if "chroma" in figures:
        total -= 0.1 * min(2.0, abs(figures["chroma"] - figures["chroma_floor"]) / 15)
    return round(total, 4)
