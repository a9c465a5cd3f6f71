"""Real files of every kind that people send, as pixels and through the service."""

import io
import struct
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from pictures.encode import encode
from pictures.errors import TooLongForFormat
from tests.conftest import PHOTO, Service, assert_problem, decoded, encoded
from tests.pictures.files import chunk, display_p3, off, png, read

PICTURE = Image.open(PHOTO).resize((96, 64))
RED = Image.new("RGB", (64, 64), (255, 0, 0))


def difference(content: bytes) -> float:
    """Mean difference to the picture that it was made from."""
    return float(np.abs(read(content).pixels.astype(int) - np.asarray(PICTURE)).mean())


def test_progressive_jpeg() -> None:
    assert difference(encoded(PICTURE, "JPEG", progressive=True, quality=95)) < 5


def test_a_jpegs_segment_may_end_as_markers_begin() -> None:
    content = encoded(PICTURE, "JPEG", quality=95)
    ends_so, looks_like_a_frame = b"\xff\xe4\0\6abc\xff", b"\xff\xe5\0\x08\xff\xc0\0\4\x4a\0"
    assert difference(content[:2] + ends_so + looks_like_a_frame + content[2:]) < 5


def test_cmyk_jpeg_as_adobe_writes_it_inverted() -> None:
    content = encoded(PICTURE.convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in content[:100]
    assert difference(content) < 5


def test_adobe_jpeg_that_holds_rgb() -> None:
    content = encoded(PICTURE, "JPEG", quality=95, keep_rgb=True)
    assert difference(content) < 5


def header_of_png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png_of_every_kind(channels: int) -> None:
    samples = np.full((4, 4, channels), 0x80FF)
    if channels in (2, 4):
        samples[..., -1] = 0xFFFF
    assert off(read(png(samples, depth=16)).pixels, 0x80) <= 1


def test_palette_png_with_transparency_is_put_on_white() -> None:
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(1, (4, 0, 8, 8))
    pixels = read(encoded(palette, "PNG", transparency=0)).pixels
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, 4:] == (0, 0, 255)).all()


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame(file_format: str) -> None:
    content = encoded(RED, file_format, save_all=True, append_images=[Image.new("RGB", (64, 64), (0, 0, 255))], duration=100)
    assert np.abs(read(content).pixels.astype(int) - (255, 0, 0)).max() < 10


@pytest.mark.parametrize(
    ("file_format", "options"), [("AVIF", {"quality": 95}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})]
)
def test_other_formats(file_format: str, options: dict) -> None:
    assert difference(encoded(PICTURE, file_format, **options)) < 5


def test_a_profile_that_is_no_profile_is_ignored() -> None:
    assert difference(encoded(PICTURE, "PNG", icc_profile=b"nonsense")) == 0


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_the_smallest_and_the_thinnest(service: Service, width: int, height: int) -> None:
    content = encoded(PICTURE.resize((width, height)), "PNG")
    assert decoded(service.translate(content, size="original").content).shape == (height, width, 3)
    assert decoded(service.translate(content, size=64, output="input").content).shape == (height, width, 3)


@pytest.mark.parametrize("file_format", ["jpeg", "png", "webp", "avif"])
def test_output_carries_nothing_but_pixels(service: Service, file_format: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    content = encoded(PICTURE, "JPEG", exif=exif, comment="a secret place", icc_profile=display_p3(), xmp=b"<x>a secret place</x>")
    answer = service.translate(content, format=file_format, strength=0).content
    assert b"secret" not in answer
    returned = Image.open(io.BytesIO(answer))
    assert not returned.getexif()
    assert not {"icc_profile", "xmp", "comment", "exif"} & returned.info.keys()


HOSTILE = {
    "html": b"<!doctype html><script>alert(1)</script>",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage",
    "one byte": b"\xff",
    "a signature alone": b"\x89PNG\r\n\x1a\n",
    "a png of no size": header_of_png(0, 0, 8, 2, b""),
    "a png that lies about its size": header_of_png(4000, 4000, 8, 2, b"\0" * 13),
    "a png bomb": header_of_png(30_000, 30_000, 8, 0, b"\0"),
    "a gif bomb": b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\0\0\0\0\xff\xff\xff\xff\0\x08\x01\0\0;",
    "a bmp bomb": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_problems(service: Service, name: str) -> None:
    response = service.translate(HOSTILE[name], name="photo.jpg")
    assert response.status_code in (415, 422)
    assert_problem(response, response.status_code)


def test_of_a_polyglot_the_pixels_alone_come_back(service: Service) -> None:
    polyglot = encoded(PICTURE, "JPEG") + b"PK\x03\x04<script>alert(1)</script>"
    answer = service.translate(polyglot)
    assert answer.headers["content-type"] == "image/jpeg"
    assert b"script" not in answer.content


def test_slow_uploads_hold_nobody_up(service: Service, photo: bytes) -> None:
    """Many more of them than there are threads."""
    go_on = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield photo[:1000]
        go_on.wait(30)
        yield photo[1000:]

    with ThreadPoolExecutor(50) as clients:
        slow = [
            clients.submit(httpx.post, f"{service.url}/translate?direction=photo2monet&size=64", content=slowly(), timeout=60)
            for _ in range(50)
        ]
        try:
            assert service.translate(photo, size=64).status_code == 200
            assert not any(upload.done() for upload in slow)
        finally:
            go_on.set()
        assert [upload.result().status_code for upload in slow] == [200] * 50


@pytest.mark.parametrize(("file_format", "longest"), [("jpeg", 65_500), ("webp", 16_383), ("avif", 32_768)])
def test_a_side_that_a_format_cannot_hold_is_an_error_that_says_so(file_format: str, longest: int) -> None:
    assert read(encode(np.zeros((2, longest, 3), np.uint8), file_format, 90)).pixels.shape == (2, longest, 3)
    with pytest.raises(TooLongForFormat, match=f"{longest:,}"):
        encode(np.zeros((2, longest + 1, 3), np.uint8), file_format, 90)


def test_an_answer_that_its_format_cannot_hold_is_a_problem(service: Service) -> None:
    response = service.translate(encoded(Image.new("RGB", (17_000, 8)), "PNG"), size=64, output="input", format="webp")
    assert "16,383" in assert_problem(response, 422)["detail"]
