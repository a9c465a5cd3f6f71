"""Uploaded bytes to pixels: checked from the header, shrunk, turned upright, in sRGB, on white."""

import io
import logging
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageCms

from models.padding import Pixels
from pictures.errors import BrokenPicture, NotAPicture, TooManyPixels

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; ours is checked below, before decoding
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what is wrong with an upload, its sender is told
warnings.filterwarnings("ignore", module="PIL")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@dataclass(frozen=True)
class Picture:
    """A decoded upload."""

    pixels: Pixels
    """(h, w, 3), its longest side no more than was asked for."""
    format: str
    """Of the upload, in lower case: `jpeg`."""
    original_size: tuple[int, int]
    """Width and height of the upload, upright."""


def open_picture(content: bytes, max_pixels: int) -> Image.Image:
    """The first picture in `content`, of which no more than the header has been read. Raises NotAPicture and TooManyPixels."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:  # decoders raise anything at all
        raise NotAPicture(f"The upload is not a picture of a format that is taken: {', '.join(FORMATS)}.") from error
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixels(width, height, max_pixels)
    return image


def decode(image: Image.Image, size: int | None) -> Picture:
    """The opened picture, its longest side shrunk to `size` pixels (None: as large as it is). Raises BrokenPicture."""
    width, height = image.size
    target = fitted(width, height, size)
    try:
        file_format = "jpeg" if image.format == "MPO" else str(image.format).lower()
        image.draft(image.mode, (target[0] * 3 // 2, target[1] * 3 // 2))  # a JPEG is decoded at a half, a quarter or an eighth
        image.load()  # which turns a TIFF by itself
        turn = _turn(image)
        whole = _to_8_bits(image)
        shrunk = whole if whole.size == target else whole.resize(target, Image.Resampling.LANCZOS, reducing_gap=3.0)
        upright = shrunk if turn is None else shrunk.transpose(turn)
        original_size = (height, width) if turn in _ON_ITS_SIDE else (width, height)
        return Picture(np.asarray(_to_srgb(_on_white(upright))), file_format, original_size)
    except Exception as error:
        raise BrokenPicture(f"The picture is damaged and cannot be decoded ({error}): send it whole.") from error


def fitted(width: int, height: int, size: int | None) -> tuple[int, int]:
    """Width and height with the longest side at most `size`: never enlarged, never under a pixel, the aspect ratio kept."""
    scale = 1.0 if size is None else min(1.0, size / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _to_8_bits(image: Image.Image) -> Image.Image:
    """To a mode that can be resized: L, RGB, CMYK or one of them with alpha."""
    if image.mode.startswith("I") or image.mode == "F":
        scale = 257 if image.mode.startswith("I") else 1
        narrowed = Image.fromarray((np.asarray(image) // scale).clip(0, 255).astype(np.uint8))
        narrowed.info = image.info
        return narrowed
    if image.mode in ("P", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("L") if image.mode == "1" else image


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What brings it upright, by its EXIF orientation; None where there is none, or none that can be read."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return None


def _on_white(image: Image.Image) -> Image.Image:
    if "A" not in image.getbands() or image.mode == "LAB":
        return image
    colours = image.convert("RGBA")
    flat = Image.new("RGB", image.size, "white")
    flat.paste(colours, mask=colours.getchannel("A"))
    flat.info = image.info
    return flat


def _to_srgb(image: Image.Image) -> Image.Image:
    """Through the embedded profile; where there is none, or it is of no use, as the mode says."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, embedded, _SRGB, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile that does not fit its picture: viewers ignore it too
    return image if image.mode == "RGB" else image.convert("RGB")
