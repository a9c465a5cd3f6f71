"""Decode a file to pixels: identify it, check its size, then reduce it to 8 bits, resize, convert to sRGB on white, and turn it upright."""

import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from models.padding import Pixels
from pictures import bmp, deep, gif, heif, jpeg, jxl, png, tags, tiff, unusual_tiff, webp
from pictures.colours import choose_colours, to_srgb
from pictures.errors import BrokenPicture, NotAPicture, PictureError, TooManyPixels
from pictures.identify import identify
from pictures.orientation import upright, upright_size
from pictures.parts import Parts
from pictures.samples import to_8_bits

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; sizes are checked below, before decoding
for library in ("PIL", "tifffile"):  # problems of a file are raised as errors, not logged
    logging.getLogger(library).setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module="PIL")

_EXAMINERS: dict[str, Callable[[bytes], Parts]] = {
    "jpeg": jpeg.examine,
    "png": png.examine,
    "gif": gif.examine,
    "bmp": bmp.examine,
    "tiff": tiff.examine,
    "webp": webp.examine,
    "avif": heif.examine,
    "heif": heif.examine,
    "jxl": jxl.examine,
}
_READERS = {"bmp": bmp.read, "jxl": jxl.read, "tiff": unusual_tiff.read}
"""Readers for files that Pillow opens but reads wrongly (Parts.misread)."""
_PLUGINS = {"heif": ("HEIC", ("pillow_heif",)), "jxl": ("JPEG XL", ("pillow_jxl", "imagecodecs"))}


@dataclass(frozen=True)
class Picture:
    """A decoded file."""

    pixels: Pixels
    """(h, w, 3), with the longest side at most the requested size."""
    format: str
    """The file's format in lower case, like `jpeg`."""
    original_size: tuple[int, int]
    """Width and height of the picture in the file, turned upright."""


@dataclass(frozen=True)
class Opened:
    """A file of which only the header has been read."""

    image: Image.Image | None
    """None for JPEG XL, because opening one would already decode it."""
    parts: Parts
    format: str
    name: str
    """The path that error messages begin with, or empty."""
    width: int
    """In pixels, before the picture is turned upright."""
    height: int


def open_picture(source: bytes | Path, max_pixels: int | None) -> Opened:
    """Read the header of the first picture in `source`. Error messages name the file if `source` is a path.

    Raises NotAPicture and BrokenPicture, TooManyPixels if the picture has more than `max_pixels` (None: no limit), and OSError if the file
    cannot be read.
    """
    content, name = (source, "") if isinstance(source, bytes) else (source.read_bytes(), str(source))
    with _name_in_errors(name):
        file_format = identify(content)
        _load_plugin(file_format)
        with _convert_errors(file_format, content):
            parts = _EXAMINERS[file_format](content)
            if parts.size is not None:
                _check_size(*parts.size, max_pixels)
            image = None if file_format == "jxl" else _open_image(file_format, parts)
        decoded_size = parts.size if image is None else image.size
        assert decoded_size is not None  # a JPEG XL's parts have its size
        shown_size = parts.canvas[:2] if parts.canvas else decoded_size
        for size in (decoded_size, shown_size):
            _check_size(*size, max_pixels)
        return Opened(image, parts, file_format, name, *shown_size)


def decode(opened: Opened, size: float | None) -> Picture:
    """Decode an opened picture, with its longest side shrunk to `size` pixels (None: not shrunk). Raises BrokenPicture."""
    parts, width, height = opened.parts, opened.width, opened.height
    with _name_in_errors(opened.name):
        try:
            with _convert_errors(opened.format, parts.content):
                image = opened.image or _open_image(opened.format, parts)
            target = fitted(width, height, size)
            if opened.format == "jpeg":  # let the decoder halve the size, up to three times
                image.draft(image.mode, (target[0] * 3 // 2, target[1] * 3 // 2))
            orientation = _orientation(image) if parts.orientation is None else parts.orientation
            image.info.pop("xmp", None)  # Pillow reads an orientation from it, unlike browsers
            image.load()
            profile, signal = parts.profile or image.info.get("icc_profile"), parts.signal
            if image.mode not in ("CMYK", "LAB"):
                profile, signal = choose_colours(profile, signal)
            image_8_bits = to_8_bits(image, parts)
            if signal is not None and (converted := deep.to_srgb(image_8_bits, image, parts, signal)):
                image_8_bits, signal = converted, None
            full = _place_on_canvas(image_8_bits, parts.canvas)
            shrunk = full if full.size == target else full.resize(target, Image.Resampling.LANCZOS, reducing_gap=3.0)
            pixels = np.asarray(upright(to_srgb(shrunk, profile, signal), orientation))
            return Picture(pixels, opened.format, upright_size(width, height, orientation))
        except PictureError:
            raise
        except Exception as error:
            raise BrokenPicture(f"The picture is damaged and cannot be decoded ({error}): send it whole.") from error


def fitted(width: int, height: int, size: float | None) -> tuple[int, int]:
    """Return width and height with the longest side at most `size`. The aspect ratio is kept, and nothing is enlarged."""
    scale = 1.0 if size is None else min(1.0, size / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


@contextmanager
def _name_in_errors(name: str) -> Iterator[None]:
    """Begin the messages of picture errors with the file's name, unless it is empty."""
    try:
        yield
    except PictureError as error:
        if name:
            error.args = (f"{name}: {error}",)
        raise


@contextmanager
def _convert_errors(file_format: str, content: bytes) -> Iterator[None]:
    """Raise a PictureError for any exception of a decoder."""
    try:
        yield
    except PictureError:
        raise
    except Exception as error:
        raise _opening_error(file_format, content, error) from error


def _load_plugin(file_format: str) -> None:
    """Import the decoder of a format that needs one. Raises NotAPicture if it is not installed."""
    if file_format not in _PLUGINS:
        return
    name, modules = _PLUGINS[file_format]
    try:
        plugins = [importlib.import_module(module) for module in modules]
    except ImportError as error:
        raise NotAPicture(
            f"This is a {name}, which needs this project's extra `formats` (pip install 'cyclegan-service[formats]'): "
            "send it as JPEG or PNG."
        ) from error
    if file_format == "heif":
        plugins[0].register_heif_opener()


def _check_size(width: int, height: int, max_pixels: int | None) -> None:
    if min(width, height) < 1:
        raise BrokenPicture(f"The picture has {width} × {height} pixels: it is empty or damaged. Send it whole.")
    if max_pixels is not None and width * height > max_pixels:
        raise TooManyPixels(width, height, max_pixels)


def _open_image(file_format: str, parts: Parts) -> Image.Image:
    if parts.misread:
        return _READERS[file_format](parts)
    try:
        return Image.open(io.BytesIO(parts.content), formats=[file_format.upper()])
    except Exception:
        if file_format == "tiff":
            return unusual_tiff.read(parts)
        raise


def _opening_error(file_format: str, content: bytes, error: Exception) -> PictureError:
    if file_format == "tiff":
        return NotAPicture(
            f"This TIFF is damaged or of an unsupported kind ({tiff.describe(content)}): export it with 8 or 16 bits a sample, or as PNG."
        )
    if file_format == "bmp":
        return NotAPicture(f"This BMP is damaged or of an unsupported kind ({error}): export it with 24 bits a pixel, or as PNG.")
    return BrokenPicture(f"The {file_format.upper()} is damaged and cannot be opened: send it whole.")


def _orientation(image: Image.Image) -> int:
    return tags.orientation((image.info.get("exif") or b"").removeprefix(b"Exif\0\0"))


def _place_on_canvas(frame: Image.Image, canvas: tuple[int, int, int, int] | None) -> Image.Image:
    """Place a frame on its transparent canvas: (width, height, left, top)."""
    if canvas is None or canvas == (*frame.size, 0, 0):
        return frame
    width, height, left, top = canvas
    full = Image.new("RGBA", (width, height), (255, 255, 255, 0))
    full.paste(frame.convert("RGBA"), (left, top))
    return full
