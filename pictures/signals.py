"""Colours that a format describes without an ICC profile: by ITU-T H.273's code points (PNG's cICP, nclx in AVIF and HEIC), or by PNG's
gAMA and cHRM. This module converts such pixels to sRGB, and tone-maps HDR (PQ and HLG)."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.padding import Pixels

Floats = NDArray[np.float32]
Primaries = tuple[float, float, float, float, float, float, float, float]
"""The chromaticities x and y of white, red, green and blue."""

D65 = (0.3127, 0.3290)
SRGB: Primaries = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
BT2020: Primaries = (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
_SMPTE_C: Primaries = (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)
_C = (0.310, 0.316)
PRIMARIES: dict[int, Primaries] = {
    1: SRGB,
    4: (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: _SMPTE_C,
    7: _SMPTE_C,
    8: (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: BT2020,
    10: (1 / 3, 1 / 3, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
"""H.273, table 2. Other values are treated as sRGB's primaries."""
GAMMAS = {1: 2.4, 4: 2.2, 5: 2.8, 6: 2.4, 8: 1.0, 11: 2.4, 14: 2.4, 15: 2.4}
"""H.273, table 3, as exponents. For BT.709 and similar curves, it is the exponent of a display (BT.1886), as in browsers."""
_RESERVED = (0, 3)
_SMPTE_240M, _SRGB_CURVE, _PQ, _DCI, _HLG = 7, 13, 16, 17, 18
HDR = (_PQ, _HLG)
REFERENCE_WHITE = 203.0
"""The luminance of white paper in HDR pictures, in cd/m² (BT.2408)."""
_PEAK = 1000.0
"""The peak luminance of an HDR picture that does not state it, in cd/m²."""
_STEPS = 2**14
_STRIP = 2**18
"""How many pixels are converted at a time."""


@dataclass(frozen=True)
class Signal:
    """The meaning of RGB values between 0 and 1."""

    primaries: Primaries = SRGB
    transfer: int | float = _SRGB_CURVE
    """A transfer curve: an H.273 code point (int), or the exponent of a power curve (float)."""
    peak: float = _PEAK
    """The peak luminance of an HDR picture, in cd/m²."""


def are_known(primaries: int, transfer: int) -> bool:
    """Return whether both H.273 code points are supported."""
    return primaries in PRIMARIES and (transfer in GAMMAS or transfer in (_SMPTE_240M, _SRGB_CURVE, _PQ, _DCI, _HLG))


def from_numbers(primaries: int, transfer: int, peak: float | None = None) -> Signal | None:
    """Return the signal for H.273's code points; None if it is sRGB or unspecified."""
    signal = Signal(PRIMARIES.get(primaries, SRGB), transfer, peak or _PEAK)
    known = transfer in GAMMAS or transfer in (_SMPTE_240M, _PQ, _DCI, _HLG)
    return signal if known or (signal.primaries != SRGB and transfer not in _RESERVED) else None


def to_srgb(samples: Pixels | NDArray[np.uint16], signal: Signal) -> Pixels:
    """Convert (h, w, 3) RGB samples of 8 or 16 bits to sRGB."""
    height, width = samples.shape[:2]
    converted = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP // width)
    curve, matrix, encoded = _linear_light(signal, np.iinfo(samples.dtype).max), _matrix(signal.primaries, SRGB), _srgb_curve()
    for top in range(0, height, rows):
        light = curve[samples[top : top + rows]]
        light = _tone_map(light, signal) @ _matrix(BT2020, SRGB).T if signal.transfer in HDR else light @ matrix.T
        converted[top : top + rows] = encoded[np.rint(light.clip(0, 1) * (_STEPS - 1)).astype(np.uint16)]
    return converted


def _linear_light(signal: Signal, highest: int) -> Floats:
    """Return the linear light of each sample value from 0 to `highest`. 1 is white; in HDR, the reference white."""
    value = np.arange(highest + 1) / highest
    match signal.transfer:
        case float():
            light = value**signal.transfer
        case 16:  # SMPTE ST 2084
            root = value ** (1 / 78.84375)
            light = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125) * 10_000 / REFERENCE_WHITE
        case 18:  # ARIB STD-B67: scene light, 0 to 1
            light = np.where(value <= 0.5, value**2 / 3, (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        case 7:
            light = np.where(value < 4 * 0.0228, value / 4, ((value + 0.1115) / 1.1115) ** (1 / 0.45))
        case 17:
            light = value**2.6 * 52.37 / 48
        case number if number in GAMMAS:
            light = value ** GAMMAS[number]
        case _:
            light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def _tone_map(light: Floats, signal: Signal) -> Floats:
    """Tone-map HDR light to 0 to 1, in BT.2020. This is SMPTE ST 2094-50's mapping for pictures without metadata, which browsers use.

    The reference white is darkened to leave room for highlights, which are compressed into that room. All three channels get the same
    gain, derived from the brightest of them, so that hues stay.
    """
    light = np.maximum(light @ _matrix(signal.primaries, BT2020).T, 0)
    if signal.transfer == _HLG:  # BT.2100's reference display has 1,000 cd/m²
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= luminance[..., None] ** np.float32(0.2) * np.float32(_PEAK / REFERENCE_WHITE)
    brightest = light.max(axis=-1, keepdims=True)
    inputs, outputs = _tone_curve(signal.peak)
    bent = np.interp(brightest, inputs, outputs).astype(np.float32)
    return light * (bent / np.maximum(brightest, np.float32(1e-6)))


@cache
def _tone_curve(peak: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the tone curve as inputs and outputs: a line up to the reference white, then a quadratic Bézier curve up to the peak, which
    maps to 1."""
    highest = max(1.0, peak / REFERENCE_WHITE)
    white = 1 - 0.5 * min(1.0, np.log(highest) / np.log(_PEAK / REFERENCE_WHITE))
    middle_in, middle_out = 0.35 + 0.65 / white, 0.35 * white + 0.65
    t = np.linspace(0, 1, 257)
    inputs = (1 - t) ** 2 + 2 * t * (1 - t) * middle_in + t**2 * highest
    outputs = (1 - t) ** 2 * white + 2 * t * (1 - t) * middle_out + t**2
    return np.concatenate([[0.0], inputs]), np.concatenate([[0.0], outputs])


@cache
def _srgb_curve() -> Pixels:
    """Return the sRGB byte for each of _STEPS levels of linear light (IEC 61966-2-1)."""
    light = np.linspace(0, 1, _STEPS)
    return np.rint(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)).astype(np.uint8)


@cache
def _matrix(source: Primaries, target: Primaries) -> Floats:
    """Return the (3, 3) matrix between two linear RGB spaces, with Bradford's adaptation: white stays white."""
    return (np.linalg.inv(_to_xyz(target)) @ _adaptation(source[:2], target[:2]) @ _to_xyz(source)).astype(np.float32)


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1, (1 - x - y) / y]) if y else np.array([x, y, 1 - x - y])


def _to_xyz(primaries: Primaries) -> NDArray[np.float64]:
    channels = np.stack([np.array([x, y, 1 - x - y]) for x, y in zip(primaries[2::2], primaries[3::2], strict=True)], axis=1)
    return channels * np.linalg.solve(channels, _xyz(*primaries[:2]))


def _adaptation(source: tuple[float, float], target: tuple[float, float]) -> NDArray[np.float64]:
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    ratio = (bradford @ _xyz(*target)) / (bradford @ _xyz(*source))
    return np.linalg.inv(bradford) @ np.diag(ratio) @ bradford


def are_valid(primaries: tuple[float, ...]) -> bool:
    """Return whether these are eight valid chromaticities of a real colour space."""
    if len(primaries) != 8 or not primaries[1] or not all(0 <= value <= 1 for value in primaries):
        return False
    (_, _, red_x, red_y, green_x, green_y, blue_x, blue_y) = primaries
    return abs((green_x - red_x) * (blue_y - red_y) - (blue_x - red_x) * (green_y - red_y)) > 1e-3
