"""All figures of a direction, what they mean, and one number of them to choose checkpoints by."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from training.data import Pixels
from training.judging import measures
from training.judging.features import balanced, content, content_kept, kernel_distance, see, stacked, style
from training.judging.inception import Inception, fid, kid
from training.judging.likeness import Likeness, Translate, psnr, shift_consistency, ssim

Figures = dict[str, float]
SHIFTED = 24
"""Pictures that shift consistency is measured on, at most: each is translated once more."""

DISTANCES = {
    "kid": "KID × 10³ (EfficientNet)",
    "style": "KID × 10³ (VGG-19)",
    "fid": "FID",
    "inception_kid": "KID × 10³ (Inception)",
}
"""Distances to the target's test pictures, lower is nearer; each with a floor, its training pictures', and a base, the sources'."""


@dataclass(frozen=True)
class Row:
    """How a figure is told."""

    key: str
    name: str
    means: str
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
    """The figures of one direction: of whatever translates, the pictures and what networks see in them being the same each time.

    `source` and `target` are test pictures, `target_train` the target's training pictures; two of each at least. `networks` gives the
    maps of a picture by figure: "kid" (EfficientNet-Lite0), "style" (VGG-19), or none of either. `lpips` is measured there and back.
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
        self._wanted: dict[str, Tensor] = {}
        self._contents: dict[str, list[Tensor]] = {}
        self._real: Figures = {}
        for key, network in networks.items():
            self._reals[key] = stacked(map(style, see(network, target_train)))
            self._wanted[key] = balanced(stacked(map(style, see(network, target))), self._reals[key])
            seen = [(style(levels), content(levels)) for levels in see(network, source)]
            self._contents[key] = [shown for _, shown in seen]
            base = self._distance(key, stacked(own for own, _ in seen))
            self._real |= {f"{key}_floor": self._distance(key, self._reals[key]), f"{key}_base": base}
        if inception is not None:
            self._seen = inception(target)
            self._real |= self._by_inception(target_train, "_floor") | self._by_inception(source, "_base")
        self._real |= {"chroma_floor": measures.chroma(target), "chroma_base": measures.chroma(source)}
        for period in measures.PERIODS:
            self._real |= {f"weave_{period}_floor": measures.weave(target, period), f"weave_{period}_base": measures.weave(source, period)}
        self._real |= dict(zip(("grain_base", "grain_90_base"), measures.grain(source, source), strict=True))

    def figures(self, there: Translate, back: Translate | None = None) -> tuple[Figures, list[Pixels]]:
        """The figures, and the translations. `x_floor` is what real pictures of the target have of a figure, `x_base` what untranslated
        sources have. Without `back` there are no cycle figures. What cannot be measured on these pictures is left out."""
        translations = [there(pixels[None])[0] for pixels in self.source]
        pairs = (self.source, translations)
        figures = dict(self._real)
        for key, network in self._networks.items():
            styles, kept = [], []
            for levels, shown in zip(see(network, translations), self._contents[key], strict=True):
                styles.append(style(levels))
                kept.append(content_kept(shown, content(levels)))
            figures[key] = self._distance(key, stacked(styles))
            figures["content" if key == "kid" else "content_vgg"] = float(np.mean(kept))
        if self._inception is not None:
            figures |= self._by_inception(translations, "")
        figures |= {
            "contrast": measures.contrast_kept(*pairs),
            "colour": measures.colour_kept(*pairs),
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
        return kernel_distance(balanced(styles, self._reals[key]), self._wanted[key])

    def _by_inception(self, pictures: list[Pixels], part: str) -> Figures:
        assert self._inception is not None
        features = self._inception(pictures)
        return {f"fid{part}": fid(features, self._seen), f"inception_kid{part}": kid(features, self._seen)}


def share_closed(figures: Mapping[str, float], key: str) -> float | None:
    """How much of the way from base to floor the translations have come, 1 for all of it; None where the base is no farther than
    the floor, or there is none."""
    value, floor, base = (figures.get(key + part, math.nan) for part in ("", "_floor", "_base"))
    return (base - value) / (base - floor) if base > floor else None


def closed(figures: Mapping[str, float], key: str) -> str:
    """The same as told, like 81%; – for None."""
    share = share_closed(figures, key)
    return "–" if share is None else f"{share:.0%}"


def table(figures: Mapping[str, float]) -> list[tuple[Row, list[str]]]:
    """The figures that there are, each with its value, floor, base, and for distances how much is closed, as they are told."""
    rows = []
    for row in ROWS:
        if row.key in figures:
            told = [f"{figures[key]:.{row.digits}f}" if key in figures else "" for key in (row.key, f"{row.key}_floor", f"{row.key}_base")]
            rows.append((row, [*told, closed(figures, row.key) if row.key in DISTANCES else ""]))
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
"""What a direction may have of each fault, how much beyond that costs one tenth of the score, and which way is worse."""


def faults(figures: Mapping[str, float]) -> list[str]:
    """The names of the figures that are beyond what `FAULTS` allows."""
    beyond = {key for key, (allowed, _, worse) in FAULTS.items() if key in figures and worse(figures[key]) > worse(allowed)}
    return [row.name for row in ROWS if row.key in beyond]


def score(figures: Mapping[str, float]) -> float:
    """One number to choose a checkpoint by, higher is better: the share of the distances closed, 1 at the floor, less a tenth for each
    fault beyond what `FAULTS` allows, in proportion up to twice that; and for chroma that is not the target's."""
    shares = [share for key in DISTANCES if (share := share_closed(figures, key)) is not None]
    total = float(np.mean([min(share, 1.0) for share in shares])) if shares else 0.0
    for key, (allowed, tenth, worse) in FAULTS.items():
        if key in figures:
            total -= 0.1 * min(2.0, max(0.0, (worse(figures[key]) - worse(allowed)) / tenth))
    if "chroma" in figures:
        total -= 0.1 * min(2.0, abs(figures["chroma"] - figures["chroma_floor"]) / 15)
    return round(total, 4)
