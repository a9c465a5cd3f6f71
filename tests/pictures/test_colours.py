"""Colours that files tell, by profile or otherwise: as a browser shows them."""

import base64
import io
import struct
from collections.abc import Iterator

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from pictures import av1
from tests.conftest import PHOTO, encoded
from tests.pictures.files import (
    GRADIENT,
    RAMP,
    bmp,
    chromaticities,
    chunk,
    cicp,
    display_p3,
    gamma,
    gif_on_canvas,
    grey_profile,
    iccp,
    off,
    png,
    read,
    solid,
    webp_on_canvas,
    with_cicp,
    with_nclx,
)  # fmt: skip

SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3 = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
RED = np.full((4, 4, 3), (200, 80, 80), np.uint8)
GREY, TWO = RAMP[..., None], np.dstack([RAMP, RAMP[:, ::-1]])
LARGE_LIGHT = chunk(b"cLLI", struct.pack(">II", 4000 * 10_000, 400 * 10_000))
BRIGHT = GRADIENT.copy()
BRIGHT[..., 2] = BRIGHT[..., 0]
AVIF = encoded(Image.fromarray(GRADIENT), "AVIF", quality=100, subsampling="4:4:4", speed=8)
BOTTOM_UP = GRADIENT[::-1].astype(np.uint32)
TEN_BITS = (BOTTOM_UP * 1023 // 255 << np.array([20, 10, 0], np.uint32)).sum(axis=-1).astype("<u4")
DEEP = (BRIGHT.astype(int) * 257 + np.random.default_rng(0).integers(-90, 90, BRIGHT.shape)).clip(0, 65535)
JPEG = encoded(Image.fromarray(GRADIENT), "JPEG", quality=100, subsampling=0)
HLG_PROFILE = with_cicp(display_p3(), 9, 18)
P3_IN_STREAM = base64.b64decode(
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAADybWV0YQAAAAAAAAAoaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAAAGxpYmF2aWYAAAAADnBp"
    "dG0AAAAAAAEAAAAeaWxvYwAAAABEAAABAAEAAAABAAABGgAAACAAAAAoaWluZgAAAAAAAQAAABppbmZlAgAAAAABAABhdjAxQ29sb3IAAAAAamlwcnAAAABL"
    "aXBjbwAAABRpc3BlAAAAAAAAABAAAAAQAAAAEHBpeGkAAAAAAwgICAAAAAxhdjFDgSAAAAAAABNmcmVlbmNseAAMAA0ABoAAAAAXaXBtYQAAAAAAAAABAAEE"
    "AQKDBAAAAChtZGF0EgAKCDgM/9hDA0GkMhIQgAAAQDlQumMuIy5af1Ppukg="
)
"""AVIF of 16 × 16 pixels, (200, 80, 80) in Display P3, by libavif with its colr box renamed."""
PQ_OF_SIXTEEN_BITS = base64.b64decode(
    "AAAADEpYTCANCocKAAAAFGZ0eXBqeGwgAAAAAGp4bCAAAAAJanhsbAoAAAFFanhsY/8KwwX8AOTRIw4HAAAAgAgCAQCgBEs4Qea2rgINWgnN+J3B71dCCRc1ESICHIk2"
    "GoRGQiP89+LEGBwXY8yJMfjKwYtj8B5GxBh8Yth6wwXoi6vGGKwUERFj8I+mgbpkIwAgQAwgAJASEF4AAJ0HAHB996Bm5iIUSYossshBwebIOQTnzWgimdkIkSJE+iIB"
    "kQ4CFCO0aCmCIZ89Y7tbLpe7HUp1w8vg8WhhWWeEEh4RyZEAycj4tBGQJpr3aREG00olJSNJLKbnDDEKWnpPq1bmct/YNP4CbwbhtGilJk5I4a9eYs2gtlathfSZmuCf"
    "CLNr0WokHY2wNChA9bRqMfJRzXy5VWgvkA4v4i0xo3y71SOUhEhYb9APvdUXMIom4IQfHwliVM1hXjFF7wCYMBrFBCYLHMa/TPQ6P2YB"
)
"""JPEG XL of 32 × 16 pixels, dark ones and bright ones, by cjxl."""
TURNED = b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
STILL = encoded(Image.fromarray(GRADIENT), "PNG", save_all=True, append_images=[solid((0, 0, 255), (64, 48))], default_image=True)
STILL_WEBP = encoded(Image.fromarray(GRADIENT), "WEBP", lossless=True)
BMP_OF_PALETTE = encoded(Image.fromarray(GRADIENT).quantize(256), "BMP")
STILL_GIF = encoded(Image.fromarray(GRADIENT).quantize(16), "GIF")


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 255, marker, len(body) + 2) + body


def hdr_avif(transfer: int, bits: int) -> bytes:
    """A photograph with samples up to 0.6, which is as bright as such pictures get."""
    samples = np.rint(np.asarray(Image.open(PHOTO).resize((96, 64))) * (0.6 / 255 * (2**bits - 1))).astype(np.uint16)
    return imagecodecs.avif_encode(samples, 100, speed=8, bitspersample=bits, primaries=9, transfer=transfer, matrix=9)


def bmp_of_palette(bits: int, compression: int, data: bytes) -> bytes:
    """Of 20 × 3 pixels, whose palette has all colours but the last two."""
    count = 2**bits - 2
    palette = b"".join(bytes([7 * i % 256, (13 * i + 5) % 256, (200 - 29 * i) % 256, 0]) for i in range(count))
    head = struct.pack("<IiiHHIIiiII", 40, 20, 3, 1, bits, compression, len(data), 0, 0, count, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(head + palette)) + head + palette + data


BMPS_OF_PALETTES = {
    "runs of 8 bits": (8, 1, bytes([20, 1, 0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 9, 6, 30, 7, 0, 0, 20, 9, 0, 1])),
    "runs of 8 bits with gaps": (8, 1, bytes([3, 1, 0, 0, 5, 3, 0, 2, 4, 1, 6, 9, 0, 1])),
    "runs of 8 bits, some beyond the palette": (8, 1, bytes([20, 9, 0, 0, 20, 255, 0, 0, 20, 7, 0, 1])),
    "runs of 4 bits": (4, 2, bytes([20, 0x12, 0, 0, 0, 5, 0x12, 0x34, 0x50, 0, 15, 0x6C, 0, 0, 7, 0x9A, 13, 0x33, 0, 1])),
    "runs of 4 bits with gaps": (4, 2, bytes([3, 0x5A, 0, 2, 6, 2, 3, 0x12, 0, 1])),
    "2 bits": (2, 0, bytes(range(0, 192, 8))),
}


FILES = {
    "PNG, gAMA 0.45455": png(GRADIENT, gamma(0.45455)),
    "PNG, gAMA 1": png(GRADIENT, gamma(1)),
    "PNG, gAMA 0.55": png(GRADIENT, gamma(0.55)),
    "PNG, gAMA and cHRM of sRGB": png(GRADIENT, gamma(0.45455) + chromaticities(*SRGB)),
    "PNG, gAMA and cHRM of Display P3": png(GRADIENT, gamma(0.45455) + chromaticities(*P3)),
    "PNG, cHRM alone": png(GRADIENT, chromaticities(*P3)),
    "PNG, gAMA and a cHRM of nothing": png(GRADIENT, gamma(1) + chromaticities(*[0.0] * 8)),
    "PNG, gAMA of a wrong checksum": png(GRADIENT, gamma(1)[:-1] + b"?"),
    "PNG, gAMA of a wrong length": png(GRADIENT, chunk(b"gAMA", b"\0\1")),
    "PNG, a transparent colour of a wrong length": png(GRADIENT, chunk(b"tRNS", b"\0\1")),
    "PNG, sRGB before gAMA": png(GRADIENT, chunk(b"sRGB", b"\0") + gamma(1)),
    "PNG, profile before sRGB and gAMA": png(GRADIENT, chunk(b"sRGB", b"\0") + gamma(1) + iccp(display_p3())),
    "PNG, a profile that is none, and gAMA": png(GRADIENT, iccp(b"nonsense") + gamma(0.45455)),
    "PNG, cICP before profile": png(GRADIENT, cicp(1, 13) + iccp(display_p3())),
    "PNG, cICP that says nothing, and a profile": png(GRADIENT, cicp(2, 2) + iccp(display_p3())),
    **{f"PNG, profile with {p}, {t}": png(GRADIENT, iccp(with_cicp(display_p3(), p, t))) for p, t in [(12, 13), (9, 18), (1, 1), (2, 2)]},
    "PNG, profile with PQ": png(BRIGHT, iccp(with_cicp(display_p3(), 9, 16))),
    "PNG, PQ, 16 bits": png(DEEP, cicp(9, 16), 16),
    "PNG, HLG, 16 bits and alpha": png(np.dstack([DEEP, np.full(RAMP.shape, 65535)]), cicp(9, 18), 16),
    "PNG, PQ, grey, 16 bits": png(DEEP[..., :1], cicp(9, 16), 16),
    "PNG, Exif behind the pixels": png(GRADIENT, after=chunk(b"eXIf", TURNED)),
    "PNG, Exif as in a JPEG": png(GRADIENT, chunk(b"eXIf", b"Exif\0\0" + TURNED)),
    "PNG, grey, gAMA 1": png(GREY, gamma(1)),
    "PNG, grey, linear profile": png(GREY, iccp(grey_profile(1.0))),
    "PNG, grey, profile of RGB": png(GREY, iccp(display_p3())),
    "PNG, RGB, profile of grey": png(GRADIENT, iccp(grey_profile(1.0))),
    "PNG, grey and alpha, gAMA 1": png(TWO, gamma(1)),
    "PNG, grey and alpha of 16 bits, linear profile": png(TWO.astype(int) * 257, iccp(grey_profile(1.0)), 16),
    "PNG, a transparent colour of too many bits": png(GREY >> 4, chunk(b"tRNS", b"\0\xf5"), 4),
    "PNG, a transparent colour behind the pixels": png(GREY, after=chunk(b"tRNS", b"\0\4")),
    "PNG, a palette without its last colours": png(RAMP >> 4, chunk(b"PLTE", GRADIENT[20, ::8].tobytes()), depth=4),
    "PNG, frames without the chunk that says how many": STILL.replace(chunk(b"acTL", b"\0\0\0\1\0\0\0\0"), b""),
    "PNG, too many frames": STILL.replace(chunk(b"acTL", b"\0\0\0\1\0\0\0\0"), chunk(b"acTL", b"\xff" * 4 + bytes(4))),
    "PNG, no frames but one": STILL.replace(chunk(b"acTL", b"\0\0\0\1\0\0\0\0"), chunk(b"acTL", bytes(8))),
    "PNG, RGB and alpha, Display P3": png(np.dstack([GRADIENT, RAMP]), cicp(12, 13)),
    "PNG, palette, Display P3": png(RAMP >> 4, cicp(12, 13) + chunk(b"PLTE", GRADIENT[::3, ::4].reshape(-1)[:48].tobytes()), depth=4),
    "PNG, 16 bits, gAMA 1": png(GRADIENT.astype(int) * 257, gamma(1), 16),
    **{f"PNG, cICP {p}, {t}": png(GRADIENT, cicp(p, t)) for p, t in [(12, 13), (9, 13), (9, 1), (11, 13), (4, 4), (1, 8), (1, 7), (1, 17)]},
    "PNG, HLG": png(BRIGHT, cicp(9, 18)),
    "PNG, PQ in sRGB's primaries": png(BRIGHT, cicp(1, 16)),
    "PNG, PQ, with its brightest": png(GREY.repeat(3, axis=2), LARGE_LIGHT + cicp(9, 16)),
    **{f"AVIF, nclx {p}, {t}": with_nclx(AVIF, p, t) for p, t in [(12, 13), (9, 13), (9, 1), (9, 18), (1, 8), (2, 2), (12, 3)]},
    "AVIF, profile with HLG": encoded(Image.fromarray(GRADIENT), "AVIF", quality=100, subsampling="4:4:4", icc_profile=HLG_PROFILE),
    "AVIF, Display P3 in its stream alone": P3_IN_STREAM,
    "AVIF, profile": encoded(Image.fromarray(GRADIENT), "AVIF", quality=100, subsampling="4:4:4", icc_profile=display_p3()),
    **{f"AVIF, {bits} bits, {name}": hdr_avif(transfer, bits) for name, transfer in [("PQ", 16), ("HLG", 18)] for bits in (10, 12)},
    **{
        f"AVIF, soft alpha, quality {quality}": encoded(Image.fromarray(np.dstack([GRADIENT, RAMP])), "AVIF", quality=quality, speed=8)
        for quality in (80, 100)
    },
    "JXL, PQ, 16 bits": PQ_OF_SIXTEEN_BITS,
    "JXL, a JPEG packed in it": imagecodecs.jpegxl_encode_jpeg(JPEG),
    "JXL, an animation": imagecodecs.jpegxl_encode(np.stack([GRADIENT, GRADIENT[::-1]]), lossless=True),
    "JPEG, grey, linear profile": encoded(Image.fromarray(RAMP), "JPEG", icc_profile=grey_profile(1.0)),
    "JPEG, profile with HLG": encoded(Image.fromarray(GRADIENT), "JPEG", icc_profile=HLG_PROFILE),
    "JPEG, CMYK, profile of RGB with HLG": encoded(Image.fromarray(GRADIENT).convert("CMYK"), "JPEG", icc_profile=HLG_PROFILE),
    "JPEG, a piece of the profile twice": JPEG[:2] + 2 * segment(0xE2, b"ICC_PROFILE\0\1\1" + display_p3()) + JPEG[2:],
    "JPEG, a piece of the profile missing": JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\1\2" + display_p3()) + JPEG[2:],
    "JPEG, an empty Exif before another": JPEG[:2] + segment(0xE1, b"Exif\0\0") + segment(0xE1, b"Exif\0\0" + TURNED) + JPEG[2:],
    "JPEG, two orientations": JPEG[:2] + segment(0xE1, b"Exif\0\0" + TURNED[:17] + b"\2" + TURNED[18:]) + JPEG[2:],
    "JPEG, CMYK": encoded(Image.fromarray(GRADIENT).convert("CMYK"), "JPEG"),
    "WebP, alpha and profile": encoded(Image.fromarray(np.dstack([GRADIENT, RAMP])), "WEBP", lossless=True, icc_profile=display_p3()),
    "WebP, smaller than its canvas": webp_on_canvas(STILL_WEBP, (64, 48), (90, 70), (10, 8)),
    "GIF, smaller than its canvas": gif_on_canvas(STILL_GIF, (90, 70), (10, 7)),
    "GIF, beyond its canvas": gif_on_canvas(STILL_GIF, (50, 40), (30, 20)),
    **{f"BMP, {name}": bmp_of_palette(*of) for name, of in BMPS_OF_PALETTES.items()},
    "BMP, a palette of too many colours": BMP_OF_PALETTE[:46] + struct.pack("<I", 300) + BMP_OF_PALETTE[50:],
    "BMP, OS/2's header of 16 bytes": (
        BMP_OF_PALETTE[:10] + struct.pack("<II", len(BMP_OF_PALETTE) - 64 * 48 - 24, 16) + BMP_OF_PALETTE[18:30] + BMP_OF_PALETTE[54:]
    ),
    "BMP, 10 bits a channel": bmp(32, 3, TEN_BITS, struct.pack("<3I", 0x3FF00000, 0xFFC00, 0x3FF), header=52),
    "BMP, alpha": bmp(
        32, 3, np.dstack([GRADIENT[::-1, :, ::-1], RAMP]).view("<u4")[..., 0],
        struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000), header=108,
    ),
    "BMP, no masks in a long header": bmp(32, 0, np.dstack([GRADIENT[::-1, :, ::-1], RAMP]).view("<u4")[..., 0], header=124),
    "BMP, no alpha in its header": bmp(32, 0, np.dstack([GRADIENT[::-1, :, ::-1], RAMP]).view("<u4")[..., 0]),
}  # fmt: skip
DRAWN = """url => new Promise((resolve, reject) => {
    const image = new Image();
    image.onerror = () => reject('not shown');
    image.onload = () => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const context = canvas.getContext('2d');
        context.fillStyle = 'white';
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.drawImage(image, 0, 0);
        resolve(canvas.toDataURL('image/png'));
    };
    image.src = url;
})"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--force-color-profile=srgb"])
        yield browser.new_page()
        browser.close()


def shown(page: Page, content: bytes, kind: str) -> NDArray[np.uint8]:
    drawn = page.evaluate(DRAWN, f"data:image/{kind};base64,{base64.b64encode(content).decode()}")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn.partition(",")[2]))).convert("RGB"))


@pytest.mark.parametrize("name", FILES)
def test_the_pixels_are_those_that_a_browser_shows(page: Page, name: str) -> None:
    expected, pixels = shown(page, FILES[name], name.partition(",")[0].lower()), read(FILES[name]).pixels
    assert pixels.shape == expected.shape
    assert np.quantile(np.abs(pixels.astype(int) - expected).max(axis=-1), 0.998) <= 2  # Chromium rounds a few dark ones in between


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(RED, cicp(12, 13)), (216, 69, 75)),
        (png(RED, iccp(display_p3())), (216, 69, 75)),
        (png(RED, iccp(with_cicp(grey_profile(1.0)[:16] + b"RGB " + grey_profile(1.0)[20:], 12, 13))), (216, 69, 75)),
        (P3_IN_STREAM, (216, 69, 75)),
        (png(np.full((4, 4, 3), 55, np.uint8), gamma(1)), (128, 128, 128)),
        (png(np.full((4, 4, 3), 128, np.uint8), cicp(9, 16)), (132, 132, 132)),
        (png(np.full((4, 4, 3), 128, np.uint8), cicp(9, 18)), (99, 99, 99)),
    ],
    ids=["Display P3 by cICP", "Display P3 by profile", "by a profile's cicp", "by AV1", "linear by gAMA", "PQ", "HLG"],
)
def test_colours_as_numbers(content: bytes, expected: tuple[int, int, int]) -> None:
    assert off(read(content).pixels, expected) <= 2


@pytest.mark.parametrize(
    "image",
    [solid(55, mode="L"), solid((55, 255), mode="LA")],
)
def test_a_grey_profile_counts_with_alpha_too(image: Image.Image) -> None:
    assert off(read(encoded(image, "PNG", icc_profile=grey_profile(1.0))).pixels, 128) <= 1


def test_colours_that_a_stream_of_several_frames_tells() -> None:
    content = encoded(solid((0, 0, 0)), "AVIF", save_all=True, append_images=[solid((9, 9, 9))])
    assert av1.read_colour_numbers(content[content.index(b"\x12\0\x0a") :]) == (1, 13)
    assert av1.read_colour_numbers(b"\x12\0") is None


def test_a_profile_of_more_than_a_mebibyte_counts() -> None:
    profile = display_p3() + np.random.default_rng(0).bytes(2**20 + 2**18)
    profile = struct.pack(">I", len(profile)) + profile[4:]
    assert off(read(encoded(solid((200, 80, 80)), "PNG", icc_profile=profile)).pixels, (216, 69, 75)) <= 2
