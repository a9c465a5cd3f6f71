"""Files that are made to keep a decoder busy are refused before it sees them, and in no time."""

import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pictures.decode import decode, open_picture
from pictures.errors import BrokenPicture, PictureError, TooManyPixels
from tests.conftest import PHOTO, encoded
from tests.pictures.files import bmp, chunk, off, png, read, solid, tiff

JPEG = encoded(solid((200, 80, 80)), "JPEG", progressive=True)
PNG = png(np.zeros((4, 4, 3), np.uint8))
GIF = encoded(solid((200, 80, 80)).quantize(2), "GIF")
WEBP = encoded(solid((200, 80, 80)), "WEBP")
SCAN = JPEG[JPEG.rindex(b"\xff\xda") : -2]
EXIF = b"\xff\xe1\x00\x12Exif\0\0" + b"0123456789"


def tiff_of_many_tags() -> bytes:
    """4,000 tags, each of which says to be all of the file."""
    body = bytes(2**22)
    entries = b"".join(struct.pack("<HHII", tag, 7, 2**22, 8) for tag in range(40_000, 44_000))
    size = b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in (256, 257))
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", 4002) + size + entries + bytes(4)


def bmp_of_runs(run: bytes) -> bytes:
    """Of 64 × 48 pixels, and 300,000 times the same run."""
    head = struct.pack("<IiiHHIIiiII", 40, 64, 48, 1, 8, 1, 0, 0, 0, 1, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 58) + head + bytes(4) + run * 300_000


BUSY = {
    "BMP of runs beyond its row": bmp_of_runs(b"\1\0"),
    "BMP of runs of nothing": bmp_of_runs(b"\0\2\0\0"),
    "JPEG of many scans": JPEG[:-2] + SCAN * 20_000 + b"\xff\xd9",
    "JPEG of many scans behind a comment that looks like its end": JPEG[:-2] + b"\xff\xfe\0\4\xff\xd9" + SCAN * 20_000 + b"\xff\xd9",
    "JPEG of many segments": JPEG[:2] + EXIF * 200_000 + JPEG[2:],
    "PNG of many chunks": PNG[:33] + chunk(b"IDAT", b"") * 300_000 + PNG[33:],
    "GIF of many comments": GIF[:-1].replace(b",\0\0\0\0", b"!\xfe" + b"\1a" * 300_000 + b"\0,\0\0\0\0", 1),
    "GIF of empty comments": GIF[:-1].replace(b",\0\0\0\0", b"!\xfe\0" * 300_000 + b",\0\0\0\0", 1),
    "WebP of many chunks": WEBP + struct.pack("<4sI", b"junk", 0) * 300_000,
    "AVIF of many boxes": struct.pack(">I4s4sI", 16, b"ftyp", b"avif", 0) + struct.pack(">I4s", 8, b"free") * 300_000,
    "TIFF of tags that overlap": tiff_of_many_tags(),
}


@pytest.fixture(scope="module")
def yardstick() -> float:
    """Seconds that a photograph of 12 megapixels takes."""
    content = encoded(Image.open(PHOTO).resize((4000, 3000)), "JPEG")
    begun = time.process_time()
    read(content)
    return time.process_time() - begun


@pytest.mark.parametrize("name", BUSY)
def test_what_would_keep_a_decoder_busy_is_refused(yardstick: float, name: str) -> None:
    begun = time.process_time()
    with pytest.raises(BrokenPicture):
        read(BUSY[name])
    assert time.process_time() - begun < 10 * yardstick


def test_directories_that_point_at_each_other_end() -> None:
    content = bytearray(tiff(bytes(64 * 48), {258: (3, 8), 262: (3, 1), 330: (4, 8 + 64 * 48)}))
    content[-4:] = struct.pack("<I", 8 + 64 * 48)
    assert read(bytes(content)).pixels.shape == (48, 64, 3)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
def test_large_texts_in_a_png_are_no_hindrance(kind: bytes) -> None:
    text = chunk(kind, b"workflow\0\0" + np.random.default_rng(0).bytes(2**21))
    assert off(read(png(np.full((4, 4, 3), 9, np.uint8), text, after=text)).pixels, 9) == 0


def test_many_segments_of_metadata_are_no_hindrance() -> None:
    content = JPEG[:2] + (b"\xff\xe2\xff\xff" + bytes(65_533)) * 500 + JPEG[2:]
    assert off(read(content).pixels, (200, 80, 80)) <= 3


def test_what_follows_a_jpegs_end_is_no_hindrance() -> None:
    content = JPEG + b"\xff\xda" * 1000  # as a video may, behind a telephone's picture
    assert off(read(content).pixels, (200, 80, 80)) <= 3


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF", "JXL"])
def test_pixels_are_counted_before_they_are_decoded(file_format: str, tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    pytest.importorskip("pillow_jxl")
    content = encoded(solid((200, 80, 80), (300, 200)), file_format)
    with pytest.raises(TooManyPixels, match="300 × 200"):
        open_picture(content, 59_999)
    assert off(decode(open_picture(content, 60_000), 30).pixels, (200, 80, 80)) <= 4
    (tmp_path / "own").write_bytes(content)
    assert open_picture(tmp_path / "own", None).width == 300


def test_an_animation_takes_no_memory_before_its_size_is_known() -> None:
    frames = encoded(solid((255, 0, 0)), "WEBP", save_all=True, append_images=[solid((0, 0, 255))], duration=100)
    at = frames.index(b"VP8X") + 12
    with pytest.raises(PictureError, match="16384 × 16384"):
        open_picture(frames[:at] + b"\xff\x3f\0\xff\x3f\0" + frames[at + 6 :], 50_000_000)


def test_a_frame_larger_than_its_canvas_counts() -> None:
    control = struct.pack(">7IHHBB", 0, 20_000, 20_000, 0, 0, 1, 1, 0, 0, 0, 0)[:26]
    one = chunk(b"acTL", struct.pack(">II", 1, 0))
    content = png(np.zeros((4, 4, 3), np.uint8), one, after=chunk(b"fcTL", control) + chunk(b"fdAT", bytes(8)))
    with pytest.raises(PictureError, match="20000 × 20000"):
        open_picture(content, 50_000_000)


def test_a_picture_without_pixels_is_called_damaged() -> None:
    for size in ((0, 48), (64, 0)):
        with pytest.raises(BrokenPicture, match="0"):
            open_picture(tiff(bytes(64 * 48), {258: (3, 8), 262: (3, 1)}, size=size), None)
    with pytest.raises(BrokenPicture):
        open_picture(bmp(24, 0, np.zeros((4, 0), np.uint8)), None)
