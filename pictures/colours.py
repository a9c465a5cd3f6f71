"""Convert colours to sRGB, by an ICC profile or the format's own description, and put transparent pictures on white."""

import io
import struct
from functools import cache

import numpy as np
from PIL import Image, ImageCms

from pictures import signals
from pictures.signals import Signal

_VIDEO_CURVES, _SRGB_CURVE = (1, 2, 6, 11), 13
"""In profiles, browsers treat these video curves as sRGB's."""
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}


def to_srgb(image: Image.Image, profile: bytes | None, signal: Signal | None) -> Image.Image:
    """Convert an image to sRGB, mode RGB, on white. Its mode is L, LA, RGB, RGBA, CMYK, LAB or YCbCr.

    A profile takes precedence over a signal. A profile that is broken or does not fit the image is ignored, as viewers do.
    """
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    opaque = image.convert(image.mode[:-1]) if alpha is not None else image
    colours = _convert_by_profile(opaque, profile) if profile else None
    if colours is None:
        colours = _lab_to_srgb(opaque) if opaque.mode == "LAB" else opaque.convert("RGB")
        if signal is not None:
            colours = Image.fromarray(signals.to_srgb(np.asarray(colours), signal))
    if alpha is None:
        return colours
    flat = Image.new("RGB", image.size, "white")
    flat.paste(colours, mask=alpha)
    return flat


def choose_colours(profile: bytes | None, signal: Signal | None) -> tuple[bytes | None, Signal | None]:
    """Return what describes the colours: the profile's tag `cicp` (H.273, possibly HDR) as a signal, or the profile, or else the signal."""
    if profile is None or profile[16:20] not in (b"RGB ", b"GRAY"):
        return profile, signal
    count = min(int.from_bytes(profile[128:132], "big"), (len(profile) - 132) // 12)
    for name, start, _ in struct.iter_unpack(">4sII", profile[132 : 132 + 12 * count]):
        cicp = profile[start + 8 : start + 12]
        if name == b"cicp" and cicp[2:] == b"\0\1":
            primaries, transfer = cicp[0], _SRGB_CURVE if cicp[1] in _VIDEO_CURVES else cicp[1]
            if signals.are_known(primaries, transfer):
                return None, signals.from_numbers(primaries, transfer)
    return profile, signal


def _convert_by_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES.get(embedded.profile.xcolor_space.strip())
        if mode != image.mode and (mode != "RGB" or image.mode in ("CMYK", "LAB")):
            return None
        if mode == "L":
            return _convert_grey_by_profile(image, embedded)
        return ImageCms.profileToProfile(image if mode == image.mode else image.convert(mode), embedded, _srgb(), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _convert_grey_by_profile(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image | None:
    """Convert each of the 256 greys once, without LittleCMS's optimization, which makes dark greys wrong by up to 7."""
    greys = Image.frombytes("L", (256, 1), bytes(range(256)))
    converted = ImageCms.profileToProfile(greys, profile, _srgb(), outputMode="RGB", flags=ImageCms.Flags.NOOPTIMIZE)
    if converted is None:
        return None
    return Image.merge("RGB", [image.point(channel.tobytes()) for channel in converted.split()])


def _lab_to_srgb(image: Image.Image) -> Image.Image:
    """Convert without LittleCMS's optimization, which is wrong by up to 35."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.profileToProfile(image, lab, _srgb(), outputMode="RGB", flags=ImageCms.Flags.NOOPTIMIZE) or image


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
