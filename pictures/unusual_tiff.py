"""Read TIFFs that Pillow cannot read or reads wrongly, with tifffile (which supports more kinds if imagecodecs is installed) or libtiff."""

import io

import numpy as np
import tifffile
from PIL import Image, TiffImagePlugin

from pictures.parts import Parts
from pictures.samples import reduce_to_8_bits

_MODES = {(1, False): "L", (1, True): "LA", (3, False): "RGB", (3, True): "RGBA", (4, False): "CMYK"}
_COLOURS = {
    tifffile.PHOTOMETRIC.MINISWHITE: 1,
    tifffile.PHOTOMETRIC.MINISBLACK: 1,
    tifffile.PHOTOMETRIC.RGB: 3,
    tifffile.PHOTOMETRIC.SEPARATED: 4,
}
_PREMULTIPLIED, _STRAIGHT = 1, 2


def read(parts: Parts) -> Image.Image:
    """Read the first picture, in 8 bits: L, LA, RGB, RGBA, CMYK or YCbCr. Passes on the decoder's exceptions."""
    with tifffile.TiffFile(io.BytesIO(parts.content)) as file:
        page = file.pages.first
        if page.photometric == tifffile.PHOTOMETRIC.YCBCR:
            return _open_with_libtiff(parts.content)
        if page.bitspersample == 24 and page.sampleformat != tifffile.SAMPLEFORMAT.IEEEFP:
            raise ValueError("integers of 24 bits, whose byte order tifffile does not handle")
        samples = page.asarray()
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1:
            samples = np.moveaxis(samples, 0, -1)
        samples = samples.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
        colours = _COLOURS[tifffile.PHOTOMETRIC(page.photometric)]
        extra = next(iter(page.extrasamples), 0)
        icc = page.tags.get(34675)
    with_alpha = extra in (_PREMULTIPLIED, _STRAIGHT) and colours < 4
    pixels = reduce_to_8_bits(samples[..., :colours], parts.depth, parts.white_is_zero, parts.unbounded)
    if with_alpha:
        alpha = reduce_to_8_bits(samples[..., colours : colours + 1], parts.depth, False, parts.unbounded)
        if extra == _PREMULTIPLIED:
            pixels = (pixels.astype(np.uint16) * 255 // np.maximum(alpha, 1)).clip(0, 255).astype(np.uint8)
        pixels = np.concatenate([pixels, alpha], axis=-1)
    image = Image.frombytes(_MODES[colours, with_alpha], (page.imagewidth, page.imagelength), np.ascontiguousarray(pixels).tobytes())
    if icc is not None:
        image.info["icc_profile"] = icc.value
    return image


def _open_with_libtiff(content: bytes) -> Image.Image:
    """Read with libtiff, which Pillow uses only for compressed files unless READ_LIBTIFF is set."""
    TiffImagePlugin.READ_LIBTIFF = True
    try:
        return Image.open(io.BytesIO(content), formats=["TIFF"])
    finally:
        TiffImagePlugin.READ_LIBTIFF = False
