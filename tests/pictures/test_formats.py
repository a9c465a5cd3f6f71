"""Real files of every kind that people send, as pixels and through the service."""

import io
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image, ImageCms

from pictures import encode
from pictures.decode import Picture, decode, open_picture
from tests.conftest import PHOTO, Service, assert_problem, decoded, encoded

PICTURE = Image.open(PHOTO).resize((96, 64))
RED = Image.new("RGB", (64, 64), (255, 0, 0))


def read(content: bytes, size: int | None = None) -> Picture:
    return decode(open_picture(content, 50_000_000), size)


def off(content: bytes) -> float:
    """Mean difference to the picture that it was made from."""
    return float(np.abs(read(content).pixels.astype(int) - np.asarray(PICTURE)).mean())


def test_progressive_jpeg() -> None:
    assert off(encoded(PICTURE, "JPEG", progressive=True, quality=95)) < 5


def test_cmyk_jpeg_as_adobe_writes_it_inverted() -> None:
    content = encoded(PICTURE.convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in content[:100]
    assert off(content) < 5


def test_adobe_jpeg_that_holds_rgb() -> None:
    content = encoded(PICTURE, "JPEG", quality=95, keep_rgb=True)
    assert off(content) < 5


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_png_of_every_kind(colour_type: int, channels: int) -> None:
    samples = np.full((4, 4, channels), 0x80FF, ">u2")
    if channels in (2, 4):
        samples[..., -1] = 0xFFFF
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    assert (np.abs(read(png(4, 4, 16, colour_type, rows)).pixels.astype(int) - 0x80) <= 1).all()


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
    assert off(encoded(PICTURE, file_format, **options)) < 5


def _display_p3() -> bytes:
    """A Display P3 profile: sRGB's own with the primaries of P3 (D50-adapted, as ICC has them)."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {b"rXYZ": (0.51512, 0.24120, -0.00105), b"gXYZ": (0.29198, 0.69225, 0.04189), b"bXYZ": (0.15710, 0.06657, 0.78407)}
    for i in range(struct.unpack_from(">I", profile, 128)[0]):
        tag, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if tag in primaries:
            struct.pack_into(">3i", profile, offset + 8, *(round(value * 65536) for value in primaries[tag]))
    return bytes(profile)


def test_colours_are_taken_to_srgb_through_the_embedded_profile() -> None:
    muted = Image.new("RGB", (32, 32), (200, 80, 80))
    pixels = read(encoded(muted, "PNG", icc_profile=_display_p3())).pixels.astype(int)
    assert np.abs(pixels - (215, 71, 76)).max() <= 3  # P3's red is stronger than sRGB's


def test_a_profile_that_is_no_profile_is_ignored() -> None:
    assert off(encoded(PICTURE, "PNG", icc_profile=b"nonsense")) == 0


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
    content = encoded(PICTURE, "JPEG", exif=exif, comment="a secret place", icc_profile=_display_p3(), xmp=b"<x>a secret place</x>")
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
    "a png of no size": png(0, 0, 8, 2, b""),
    "a png that lies about its size": png(4000, 4000, 8, 2, b"\0" * 13),
    "a png bomb": png(30_000, 30_000, 8, 0, b"\0"),
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


@pytest.mark.parametrize("file_format", encode.OPTIONS)
def test_nothing_of_a_larger_picture_is_left_in_the_next(file_format: str) -> None:
    large = np.random.default_rng(0).integers(256, size=(1200, 1600, 3), dtype=np.uint8)  # as a PNG more than a thread keeps
    small = encode.encode(np.asarray(PICTURE), file_format, 90)
    assert len(encode.encode(large, file_format, 90)) > len(small)
    assert encode.encode(np.asarray(PICTURE), file_format, 90) == small


@pytest.mark.parametrize("file_format", encode.OPTIONS)
def test_systems_without_files_in_memory_write_the_same(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.asarray(PICTURE)
    expected = encode.encode(pixels, file_format, 90)
    monkeypatch.delattr(os, "memfd_create")
    with ThreadPoolExecutor(1) as thread:  # which has no file yet
        assert thread.submit(encode.encode, pixels, file_format, 90).result() == expected
    assert off(expected) < 5
