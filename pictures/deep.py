"""Colours out of more than 8 bits a sample, where 8 are too few: HDR's darks and highlights would be off by several."""

import importlib
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pictures import signals
from pictures.parts import Parts
from pictures.samples import sixteen_bits
from pictures.signals import Signal


def recoloured(narrow: Image.Image, image: Image.Image, parts: Parts, signal: Signal) -> Image.Image | None:
    """`narrow`, which is `image` in 8 bits, with its colours taken to sRGB from all of the file's bits; None where 8 are all, or do."""
    samples = _samples(image, parts, signal)
    if samples is None:
        return None
    colours = Image.fromarray(signals.to_srgb(samples, signal))
    if "A" in narrow.getbands():
        colours.putalpha(narrow.getchannel("A"))
    return colours


def _samples(image: Image.Image, parts: Parts, signal: Signal) -> NDArray[np.uint16] | None:
    """(h, w, 3), 0 to 65,535."""
    bits = image.info.get("bit_depth", 8) if image.format == "HEIF" else parts.depth
    if image.format == "HEIF" and bits > 8:
        heif = importlib.import_module("pillow_heif").open_heif(io.BytesIO(parts.content), convert_hdr_to_8bit=False)
        stretched = np.rint(np.linspace(0, 65535, 2**bits)).astype(np.uint16)
        samples = stretched[np.asarray(heif) >> (16 - bits)]  # which are shifted to the left
    elif image.format == "PNG" and bits == 16 and signal.transfer in signals.HDR and image.mode in ("I;16", "RGB", "RGBA"):
        samples = sixteen_bits(image, parts)
    else:
        return None
    channels = samples.reshape(*samples.shape[:2], -1)
    return channels[..., :3] if channels.shape[2] >= 3 else channels[..., :1].repeat(3, axis=2)
