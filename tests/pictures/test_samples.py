"""Samples of every depth and kind, the colour that is transparent, and which way is up."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from pictures.errors import NotAPicture
from tests.conftest import encoded
from tests.pictures.files import GRADIENT, RAMP, XMP, bmp, chunk, gif_on_canvas, off, png, read, solid, tiff

GREY = RAMP[..., None].repeat(3, axis=2)
FOUR = RAMP[:, ::2] & 240 | RAMP[:, 1::2] >> 4
OPAQUE = np.full_like(RAMP, 255)
CMYK = np.asarray(Image.fromarray(GRADIENT).convert("CMYK"))
STRAIGHT = {"extrasamples": ["unassalpha"], "planarconfig": "contig"}
UNIT = RAMP / np.float32(255)
BLOCKS = RAMP.reshape(24, 2, 32, 2).swapaxes(1, 2).reshape(24, 32, 4)
"""Of two by two."""


def written(samples: NDArray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **options)
    return file.getvalue()


def packed(bits: int) -> bytes:
    """The ramp in samples of so many bits, without gaps but at the ends of rows."""
    samples = np.rint(RAMP / 255 * (2**bits - 1)).astype(int)
    return np.packbits((samples[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8).reshape(48, -1), axis=1).tobytes()


def planes(samples: NDArray) -> NDArray:
    return np.ascontiguousarray(np.moveaxis(samples, -1, 0))


TIFFS: dict[str, tuple[bytes, NDArray]] = {
    **{f"{bits} bits": (tiff(packed(bits), {258: (3, bits), 262: (3, 1)}), GREY) for bits in (10, 12, 14, 20)},
    "14 bits, big-endian": (tiff(packed(14), {258: (3, 14), 262: (3, 1)}, order=">"), GREY),
    "5 bits": (tiff(packed(5), {258: (3, 5), 262: (3, 1)}), np.rint(GREY / 255 * 31) * 255 // 31),
    "16 bits, white is zero": (tiff((65535 - RAMP.astype("<u2") * 257).tobytes(), {258: (3, 16), 262: (3, 0)}), GREY),
    "4 bits, white is zero": (tiff((255 - FOUR).tobytes(), {258: (3, 4), 262: (3, 0)}), GREY // 16 * 17),
    "32 bits": (written(RAMP.astype(np.uint32) * 0x1010101), GREY),
    "32 bits, white is zero, big-endian": (written(~(RAMP.astype(np.uint32) * 0x1010101), photometric="miniswhite", byteorder=">"), GREY),
    "floating point": (written(UNIT), GREY),
    "floating point, with a highlight": (written(np.where(np.arange(64 * 48).reshape(48, 64) == 0, np.float32(9), UNIT)), None),
    "floating point, 0 to 255": (written(UNIT * 255), GREY),
    "floating point, white is zero": (written(1 - UNIT, photometric="miniswhite"), GREY),
    "floating point, packed, big-endian": (written(UNIT, compression="zlib", byteorder=">"), GREY),
    "half floats": (written(UNIT.astype(np.float16)), GREY),
    "doubles of three channels": (written(GRADIENT / 255, photometric="rgb"), GRADIENT),
    "Hounsfield units": (written(RAMP.astype(np.int16) * 10 - 1024), GREY),
    "Hounsfield units, packed, big-endian": (written(RAMP.astype(np.int16) * 10 - 1024, compression="zlib", byteorder=">"), GREY),
    "signed bytes": (written((RAMP.astype(int) - 128).astype(np.int8)), GREY),
    "16 bits in planes": (written(planes(GRADIENT.astype(np.uint16) * 257), photometric="rgb", planarconfig="separate"), GRADIENT),
    "8 bits in planes": (written(planes(GRADIENT), photometric="rgb", planarconfig="separate"), GRADIENT),
    "floats in tiles": (written(GRADIENT / np.float32(255), photometric="rgb", tile=(16, 16)), GRADIENT),
    "32 bits of three channels": (written(GRADIENT.astype(np.uint32) * 0x1010101, photometric="rgb"), GRADIENT),
    "BigTIFF, big-endian": (written(GRADIENT, photometric="rgb", bigtiff=True, byteorder=">"), GRADIENT),
    "CMYK of 16 bits": (written(CMYK.astype(np.uint16) * 257, photometric="separated"), GRADIENT),
    "YCbCr, a colour for two by two pixels": (
        tiff(np.dstack([BLOCKS, np.full((24, 32, 2), 128, np.uint8)]).tobytes(), {258: (3, 8), 262: (3, 6), 277: (3, 3)}), GREY
    ),
    "a palette written with 8 bits": (
        written(RAMP, photometric="palette", colormap=np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 9)]).astype(np.uint16)),
        np.dstack([RAMP, 255 - RAMP, np.full_like(RAMP, 9)]),
    ),
    "grey with alpha, 16 bits": (written(np.dstack([RAMP, OPAQUE]).astype(np.uint16) * 257, photometric="minisblack", **STRAIGHT), GREY),
    "premultiplied, in planes": (
        written(planes(np.dstack([GRADIENT // 2, OPAQUE // 2 + 1])), photometric="rgb", extrasamples=[1], planarconfig="separate"),
        GRADIENT // 2 + 127,
    ),
    **{
        f"grey with alpha, in planes, {compression}": (
            written(planes(np.dstack([RAMP, OPAQUE])), photometric="minisblack", extrasamples=[2], planarconfig="separate",
                    compression=compression),
            GREY,
        )
        for compression in (None, "lzw")
    },
    "alpha and one more, in planes": (
        written(planes(np.dstack([GRADIENT, OPAQUE, RAMP])), photometric="rgb", extrasamples=[2, 0], planarconfig="separate"), GRADIENT
    ),
    "premultiplied": (written(np.dstack([GRADIENT // 2, OPAQUE // 2 + 1]), photometric="rgb", extrasamples=[1]), GRADIENT // 2 + 127),
}  # fmt: skip


@pytest.mark.parametrize("name", TIFFS)
def test_tiffs_of_every_kind(name: str) -> None:
    content, expected = TIFFS[name]
    pixels = read(content).pixels
    assert off(pixels[1:], (GREY if expected is None else expected)[1:]) <= 2


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({258: (3, 24), 262: (3, 1)}, "1 × 24 bits"),
        ({258: (3, 128), 262: (3, 1), 339: (3, 6)}, "complex"),
        ({258: (3, 16), 262: (3, 32844), 259: (3, 34676)}, "LogL.*compression 34676"),
        ({258: (3, 8), 262: (3, 2), 259: (3, 50001), 277: (3, 3)}, "RGB.*compression 50001"),
        ({258: (3, 8), 262: (3, 5), 277: (3, 5), 338: (3, 2)}, "CMYK with transparency"),
    ],
    ids=["24 bits", "complex", "LogL", "WebP inside", "CMYK with alpha"],
)
def test_a_tiff_that_is_not_taken_is_named(tags: dict[int, tuple[int, int]], words: str) -> None:
    content = tiff(bytes(64 * 48 * 16), tags)
    with pytest.raises(NotAPicture, match=words):
        read(content)


def test_lab() -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(solid((200, 80, 80)), *profiles, outputMode="LAB")
    assert lab is not None
    assert off(read(encoded(lab, "TIFF")).pixels, (200, 80, 80)) <= 2
    cyan = np.full((4, 4, 3), (222, 256 - 49, 256 - 12), np.uint8)  # L*, of 255, and a* and b*
    assert off(read(written(cyan, photometric="cielab")).pixels, (30, 244, 239)) <= 2


KEYED: dict[str, tuple[bytes, NDArray]] = {
    "1 bit": (png(RAMP[..., None] >> 7, chunk(b"tRNS", b"\0\0"), 1), RAMP >> 7 == 0),
    "2 bits": (png(RAMP[..., None] >> 6, chunk(b"tRNS", b"\0\1"), 2), RAMP >> 6 == 1),
    "4 bits": (png(RAMP[..., None] >> 4, chunk(b"tRNS", b"\0\5"), 4), RAMP >> 4 == 5),
    "8 bits": (png(RAMP[..., None], chunk(b"tRNS", b"\0\4"), 8), RAMP == 4),
    "16 bits": (png(RAMP[..., None].astype(int) * 257 + 1, chunk(b"tRNS", b"\4\5"), 16), RAMP == 4),
    "16 bits, RGB": (png(GREY.astype(int) * 256 + [1, 2, 3], chunk(b"tRNS", b"\4\1\4\2\4\3"), 16), RAMP == 4),
    "16 bits, RGB, almost": (png(GREY.astype(int) * 256 + [1, 2, 3], chunk(b"tRNS", b"\4\1\4\2\4\4"), 16), RAMP == 256),
}


@pytest.mark.parametrize("name", KEYED)
def test_the_transparent_colour_is_white_and_no_other(name: str) -> None:
    content, hidden = KEYED[name]
    pixels = read(content).pixels
    assert (pixels[hidden] == 255).all()
    assert (pixels[~hidden & (RAMP < 128)] < 255).all()


def test_around_a_gif_frame_smaller_than_its_canvas_it_is_white() -> None:
    pixels = read(gif_on_canvas(encoded(solid((255, 0, 0)).quantize(2), "GIF"), (60, 50), (10, 5))).pixels
    assert pixels.shape == (50, 60, 3)
    assert (pixels[5:37, 10:42] == (255, 0, 0)).all()
    pixels = pixels.copy()
    pixels[5:37, 10:42] = 255
    assert (pixels == 255).all()


def test_of_an_animation_that_does_not_show_its_still_picture_the_first_frame() -> None:
    frames = [solid((0, 0, 255)), solid((0, 255, 0))]
    content = encoded(solid((255, 0, 0)), "PNG", save_all=True, append_images=frames, default_image=True)
    assert (read(content).pixels == (0, 0, 255)).all()


def turned(orientation: int) -> tuple[Image.Image, Image.Exif, NDArray]:
    picture, exif = Image.fromarray(GRADIENT), Image.Exif()
    exif[0x0112] = orientation
    picture.getexif()[0x0112] = orientation
    return picture, exif, np.asarray(ImageOps.exif_transpose(picture))


WRITE: dict[str, Callable[[Image.Image, Image.Exif], bytes]] = {
    "JPEG": lambda picture, exif: encoded(picture, "JPEG", quality=100, subsampling=0, exif=exif),
    "PNG": lambda picture, exif: encoded(picture, "PNG", exif=exif),
    "WebP": lambda picture, exif: encoded(picture, "WEBP", lossless=True, exif=exif),
    "AVIF": lambda picture, exif: encoded(picture, "AVIF", quality=100, subsampling="4:4:4", speed=8, exif=exif),
    "TIFF": lambda picture, exif: encoded(picture, "TIFF", exif=exif),
    "TIFF, packed": lambda picture, exif: encoded(picture, "TIFF", exif=exif, compression="tiff_lzw"),
}


@pytest.mark.parametrize("file_format", WRITE)
def test_every_orientation(file_format: str) -> None:
    for orientation in range(1, 9):
        picture, exif, upright = turned(orientation)
        decoded = read(WRITE[file_format](picture, exif))
        assert decoded.original_size == upright.shape[1::-1]
        assert off(decoded.pixels, upright) <= 4


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF", "TIFF"])
def test_an_orientation_in_xmp_alone_does_not_count(file_format: str) -> None:
    options = {"tiffinfo": {700: XMP}} if file_format == "TIFF" else {"xmp": XMP}
    assert read(encoded(Image.fromarray(GRADIENT), file_format, **options)).pixels.shape == GRADIENT.shape


def test_of_a_picture_with_others_behind_it_the_first() -> None:
    """As in Ultra HDR, whose second picture is a map of gains."""
    picture = Image.fromarray(GRADIENT)
    content = encoded(picture, "MPO", save_all=True, append_images=[solid((9, 9, 9))], quality=100, subsampling=0)
    decoded = read(content)
    assert decoded.format == "jpeg"
    assert off(decoded.pixels, GRADIENT) <= 4


def test_bmp_of_four_bits_a_channel() -> None:
    nibbles = GRADIENT[::-1].astype(int) >> 4
    rows = (nibbles[..., 0] << 8 | nibbles[..., 1] << 4 | nibbles[..., 2]).astype("<u2")
    masks = np.array([0xF00, 0xF0, 0xF], "<u4").tobytes()
    assert off(read(bmp(16, 3, rows, masks, header=52)).pixels, GRADIENT // 16 * 17) == 0
