"""Colour conversion with more than 8 bits per sample. With 8 bits, dark and bright parts of HDR pictures would look wrong."""

import importlib
import importlib.util
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pictures import signals
from pictures.parts import Parts
from pictures.samples import read_16_bits, scale_to_16_bits
from pictures.signals import Signal


def to_srgb(image_8_bits: Image.Image, image: Image.Image, parts: Parts, signal: Signal) -> Image.Image | None:
    """Convert `image` to sRGB from all of the file's bits; `image_8_bits` is the same image in 8 bits, which provides the alpha channel.

    Returns None if the file has only 8 bits per sample, or 8 are enough.
    """
    samples = _deep_samples(image, parts, signal)
    if samples is None:
        return None
    colours = Image.fromarray(signals.to_srgb(samples, signal))
    if "A" in image_8_bits.getbands():
        colours.putalpha(image_8_bits.getchannel("A"))
    return colours


def _deep_samples(image: Image.Image, parts: Parts, signal: Signal) -> NDArray[np.uint16] | None:
    """Return samples (h, w, 3), 0 to 65,535, or None if 8 bits are enough."""
    hdr = signal.transfer in signals.HDR
    bits = image.info.get("bit_depth", 8) if image.format == "HEIF" else parts.depth
    samples: NDArray
    if bits == 8:
        return None
    if image.format == "HEIF":
        heif = importlib.import_module("pillow_heif").open_heif(io.BytesIO(parts.content), convert_hdr_to_8bit=False)
        samples = scale_to_16_bits(np.asarray(heif) >> (16 - bits), bits)  # its samples are shifted to the left
    elif image.format == "AVIF" and hdr and importlib.util.find_spec("imagecodecs"):
        samples = scale_to_16_bits(importlib.import_module("imagecodecs").avif_decode(parts.content, index=0, numthreads=1), bits)
    elif image.format == "PNG" and hdr and image.mode in ("I;16", "RGB", "RGBA"):
        samples = read_16_bits(image, parts)
    elif "samples" in image.info:
        samples = image.info["samples"]
    else:
        return None
    channels = samples.reshape(*samples.shape[:2], -1)
    return channels[..., :3] if channels.shape[2] >= 3 else channels[..., :1].repeat(3, axis=2)
