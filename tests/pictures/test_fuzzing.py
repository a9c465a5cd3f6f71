"""Whatever is sent, the answer is what the contract names, and the service goes on."""

import importlib.util
import io
import os
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pictures.decode import decode, open_picture
from pictures.errors import PictureError
from tests.conftest import PHOTO, Service, assert_problem, encoded
from tests.pictures.files import GRADIENT, bmp, cicp, display_p3, gamma, gif_on_canvas, png, tiff, with_cicp, with_nclx

PICTURE = Image.open(PHOTO).resize((96, 64))
SEEDS = {
    "jpeg": encoded(PICTURE, "JPEG"),
    "progressive": encoded(PICTURE, "JPEG", progressive=True),
    "cmyk": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "png": encoded(PICTURE, "PNG"),
    "palette": encoded(PICTURE.quantize(16), "PNG"),
    "webp": encoded(PICTURE, "WEBP"),
    "avif": encoded(PICTURE, "AVIF"),
    "avif without a colr box": encoded(PICTURE, "AVIF").replace(b"colrnclx", b"freenclx"),
    "numbers in a profile": encoded(PICTURE, "JPEG", icc_profile=with_cicp(display_p3(), 9, 16)),
    "gif": encoded(PICTURE, "GIF", save_all=True, append_images=[PICTURE.rotate(90)]),
    "bmp": encoded(PICTURE, "BMP"),
    "tiff": encoded(PICTURE, "TIFF", compression="tiff_lzw"),
    "colours of a png": png(GRADIENT, cicp(12, 16) + gamma(1), 16),
    "animated png": encoded(PICTURE, "PNG", save_all=True, append_images=[PICTURE.rotate(90)] * 2, default_image=True),
    "animated webp": encoded(PICTURE, "WEBP", save_all=True, append_images=[PICTURE.rotate(90)]),
    "gif on a canvas": gif_on_canvas(encoded(PICTURE.quantize(16), "GIF"), (200, 100), (9, 9)),
    "bitfields": bmp(16, 3, GRADIENT[..., 0].astype("<u2"), b"\0\x0f\0\0\xf0\0\0\0\x0f\0\0\0", header=52),
    "runs": bmp(8, 1, np.tile(np.array([9, 0, 0, 3, 1, 2, 3, 0, 0, 2, 4, 0, 0, 0], np.uint8), (48, 2))),
    "floating point": tiff((GRADIENT[..., 0] / 255).astype("<f8").tobytes(), {258: (3, 64), 262: (3, 1), 339: (3, 3)}),
}
if importlib.util.find_spec("pillow_heif"):
    importlib.import_module("pillow_heif").register_heif_opener()
    SEEDS["heic"] = encoded(PICTURE, "HEIF")
    SEEDS["heic in tiles"] = encoded(PICTURE.resize((192, 128)), "HEIF", tile_size=64)
    deep = importlib.import_module("pillow_heif").from_bytes("RGB;16", (64, 48), (GRADIENT.astype("<u2") * 257).tobytes())
    deep.save(file := io.BytesIO(), quality=80)
    SEEDS["heic of ten bits"] = with_nclx(file.getvalue(), 9, 16)
if importlib.util.find_spec("pillow_jxl"):
    importlib.import_module("pillow_jxl")
    SEEDS["jxl"] = encoded(PICTURE, "JXL")
if importlib.util.find_spec("imagecodecs"):
    imagecodecs = importlib.import_module("imagecodecs")
    SEEDS["avif of ten bits"] = imagecodecs.avif_encode(GRADIENT.astype("<u2") * 4, bitspersample=10, primaries=9, transfer=16, matrix=9)
    SEEDS["deep jxl"] = imagecodecs.jpegxl_encode(GRADIENT.astype("<u2") * 257)
    SEEDS["jxl of a jpeg"] = imagecodecs.jpegxl_encode_jpeg(SEEDS["jpeg"])
    SEEDS["tiff of ten bits"] = tiff(bytes(range(240)) * 16, {258: (3, 10), 262: (3, 1)})
FUZZ_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 200))
"""Of files that decoders are given; `make fuzz` gives them many more."""
SECONDS = 30
"""That one file may take, on a busy machine."""
ANY_EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TELLING = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\xff\xff", b"\1\0\0\0"]
"""Lengths, offsets and counts that lie."""


@st.composite
def broken_pictures(draw: st.DrawFn) -> bytes:
    """A real file with bytes overwritten, cut out, doubled, or cut off; headers are hit as often as data."""
    content = bytearray(SEEDS[draw(st.sampled_from(sorted(SEEDS)))])
    for _ in range(draw(st.integers(1, 6))):
        end = draw(st.sampled_from([32, 512, len(content)]))
        at = draw(st.integers(0, max(0, min(end, len(content) - 1))))
        match draw(st.sampled_from(["bytes", "lie", "cut out", "double", "cut off"])):
            case "bytes":
                new = draw(st.binary(min_size=1, max_size=8))
                content[at : at + len(new)] = new
            case "lie":
                content[at : at + 4] = draw(st.sampled_from(TELLING))
            case "cut out":
                del content[at : at + draw(st.integers(1, 64))]
            case "double":
                content[at:at] = content[at : at + 64]
            case "cut off":
                del content[at:]
    return bytes(content)


def outcome(content: bytes) -> str:
    try:
        return str(decode(open_picture(content, 10_000_000), 64).pixels.shape)
    except PictureError as error:
        return str(error)


@pytest.fixture(scope="module")
def decoders() -> Iterator[list[ProcessPoolExecutor]]:
    """One process, in a list, so that another can take its place."""
    pools = [decoder()]
    yield pools
    pools[0].shutdown(wait=False, cancel_futures=True)


def decoder() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"))


@given(broken_pictures())
@settings(ANY_EXAMPLES, max_examples=FUZZ_EXAMPLES)
def test_a_file_that_was_tampered_with_is_decoded_or_a_picture_error(decoders: list[ProcessPoolExecutor], content: bytes) -> None:
    """In a process of its own: one that crashes or does not end fails as well."""
    try:
        assert decoders[0].submit(outcome, content).result(SECONDS)
    except (BrokenExecutor, TimeoutError):
        decoders[0].shutdown(wait=False, cancel_futures=True)
        decoders[0] = decoder()
        raise


@given(broken_pictures())
@settings(ANY_EXAMPLES, max_examples=50)
def test_a_file_that_was_tampered_with_is_translated_or_a_problem(service: Service, content: bytes) -> None:
    response = service.translate(content, size=64, format="jpeg")
    if response.status_code == 200:
        assert max(Image.open(io.BytesIO(response.content)).size) <= 64
    else:
        assert response.status_code in (400, 415, 422)
        assert_problem(response, response.status_code)


MODEL = "/v2/models/{name}"
OPERATIONS = [
    "POST /translate", "POST /cycle", "GET /directions", "GET /health/live", "GET /health/ready",
    "GET /v2", "GET /v2/health/live", "GET /v2/health/ready", f"GET {MODEL}", f"GET {MODEL}/ready", f"POST {MODEL}/infer",
    f"GET {MODEL}/versions/{{version}}", f"GET {MODEL}/versions/{{version}}/ready", f"POST {MODEL}/versions/{{version}}/infer",
]  # fmt: skip


@pytest.mark.parametrize("method_and_path", OPERATIONS)
def test_the_service_does_what_its_openapi_page_says(service: Service, method_and_path: str) -> None:
    method, path = method_and_path.split()
    operation = schemathesis.openapi.from_url(f"{service.url}/openapi.json")[path][method]

    @given(operation.as_strategy())
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    def answers_as_described(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=[positive_data_acceptance])  # any bytes are valid to the schema, but no picture

    answers_as_described()
