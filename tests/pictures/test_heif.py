"""HEIC as phones write it, and JPEG XL."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pictures import signals
from pictures.decode import open_picture
from tests.conftest import PHOTO, Service, decoded, encoded
from tests.pictures.files import GRADIENT, display_p3, off, read, solid, with_nclx

pillow_heif = pytest.importorskip("pillow_heif")
imagecodecs = pytest.importorskip("imagecodecs")
pytest.importorskip("pillow_jxl")
pillow_heif.register_heif_opener()
PICTURE = Image.fromarray(GRADIENT)


def heic(image: Image.Image, **options: object) -> bytes:
    return encoded(image, "HEIF", quality=100, chroma=444, **options)


def mean_off(pixels: NDArray, expected: NDArray) -> float:
    assert pixels.shape == expected.shape
    return float(np.abs(pixels.astype(int) - expected).mean())


def test_every_orientation_once() -> None:
    for orientation in range(1, 9):
        exif, picture = Image.Exif(), PICTURE.copy()
        exif[0x0112] = picture.getexif()[0x0112] = orientation
        assert mean_off(read(heic(picture, exif=exif.tobytes())).pixels, np.asarray(ImageOps.exif_transpose(picture))) < 2


def test_profile_of_a_phone() -> None:
    assert off(read(heic(solid((200, 80, 80)), icc_profile=display_p3())).pixels, (216, 69, 75)) <= 3


@pytest.mark.parametrize(("primaries", "transfer"), [(12, 13), (9, 16), (9, 18)])
def test_colour_numbers(primaries: int, transfer: int) -> None:
    signal = signals.from_numbers(primaries, transfer)
    assert signal is not None
    assert mean_off(read(with_nclx(heic(PICTURE), primaries, transfer)).pixels, signals.to_srgb(GRADIENT, signal)) < 2


def test_of_several_pictures_the_primary_one() -> None:
    several = pillow_heif.from_pillow(solid((0, 0, 255)))
    several.add_from_pillow(PICTURE)
    file = io.BytesIO()
    several.save(file, quality=100, chroma=444, primary_index=1)
    assert mean_off(read(file.getvalue()).pixels, GRADIENT) < 2


@pytest.mark.parametrize(("mode", "channels"), [("RGB;16", [0, 1, 2]), ("I;16", [0])])
def test_ten_bits(mode: str, channels: list[int]) -> None:
    file = io.BytesIO()
    deep = pillow_heif.from_bytes(mode, PICTURE.size, (GRADIENT[..., channels].astype(np.uint16) * 257).tobytes())
    deep.save(file, quality=100, chroma=444)
    pixels = read(file.getvalue()).pixels
    assert mean_off(pixels[..., channels], GRADIENT[..., channels]) < 2


@pytest.mark.parametrize(("primaries", "transfer"), [(12, 13), (9, 16), (9, 18), (1, 8)])
def test_colour_numbers_of_ten_bits(primaries: int, transfer: int) -> None:
    """Every value of ten bits counts, where eight would be off by up to 13."""
    codes = np.arange(64 * 48).reshape(48, 64)[..., None].repeat(3, axis=2) % 1024
    file = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (64, 48), (codes << 6).astype(np.uint16).tobytes()).save(
        file, quality=-1, chroma=444, matrix_coefficients=0
    )
    signal = signals.from_numbers(primaries, transfer)
    assert signal is not None
    expected = signals.to_srgb((codes * 65535 / 1023 + 0.5).astype(np.uint16), signal)
    assert off(read(with_nclx(file.getvalue(), primaries, transfer)).pixels, expected) <= 1


def test_tiles_as_phones_write_them_turned_once() -> None:
    exif, picture = Image.Exif(), PICTURE.resize((300, 200))
    exif[0x0112] = picture.getexif()[0x0112] = 6
    content = heic(picture, exif=exif.tobytes(), tile_size=64)
    assert b"grid" in content
    assert b"irot" in content
    decoded = read(content)
    assert decoded.original_size == (200, 300)
    assert mean_off(decoded.pixels, np.asarray(ImageOps.exif_transpose(picture))) < 2
    assert read(content.replace(b"irot", b"free")).pixels.shape == (200, 300, 3)  # Exif's orientation is for information only


def test_transparency_is_white() -> None:
    assert off(read(heic(solid((255, 0, 0, 0), mode="RGBA"))).pixels, 255) <= 1


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 98}])
def test_jpeg_xl(options: dict) -> None:
    assert off(read(encoded(solid((200, 80, 80)), "JXL", **options)).pixels, (200, 80, 80)) <= 3


def test_jpeg_xl_tells_its_size_before_it_is_decoded() -> None:
    for size in ((8, 8), (320, 240), (333, 77), (77, 1200), (1920, 1080)):
        opened = open_picture(encoded(PICTURE.resize(size), "JXL")[:64], None)
        assert (opened.width, opened.height) == size


@pytest.mark.parametrize("samples", [np.uint16([55 * 257, 65535]), np.uint16([55 * 257]), np.float32([55 / 255] * 3)], ids=str)
def test_deep_jpeg_xl(samples: NDArray) -> None:
    """Of linear light, which is how its encoder takes more than 8 bits."""
    content = imagecodecs.jpegxl_encode(np.tile(samples, (8, 8, 1)), lossless=True)
    assert off(read(content).pixels, 128) <= 2


def test_a_jpeg_packed_as_jpeg_xl_is_upright(tmp_path: Path) -> None:
    exif, picture = Image.Exif(), PICTURE.copy()
    exif[0x0112] = picture.getexif()[0x0112] = 6
    (tmp_path / "turned.jpg").write_bytes(encoded(picture, "JPEG", quality=100, subsampling=0, exif=exif))
    with Image.open(tmp_path / "turned.jpg") as turned:
        content = encoded(turned, "JXL", lossless_jpeg=True)
    assert b"jbrd" in content
    opened, decoded = open_picture(content, None), read(content)
    assert (opened.width, opened.height) == decoded.original_size == (48, 64)
    assert mean_off(decoded.pixels, np.asarray(ImageOps.exif_transpose(picture))) < 2


def test_the_service_takes_a_phones_picture(service: Service) -> None:
    answer = service.translate(heic(Image.open(PHOTO).resize((96, 64))), name="IMG_0001.HEIC", size=64)
    assert answer.status_code == 200
    assert decoded(answer.content).shape == (43, 64, 3)
    assert answer.headers["content-type"] == "image/png"
