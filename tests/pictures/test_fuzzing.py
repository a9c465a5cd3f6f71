"""Whatever is sent, the answer is what the contract names, and the service goes on."""

import io

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.conftest import PHOTO, Service, assert_problem, encoded

PICTURE = Image.open(PHOTO).resize((96, 64))
SEEDS = {
    "jpeg": encoded(PICTURE, "JPEG"),
    "progressive": encoded(PICTURE, "JPEG", progressive=True),
    "cmyk": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "png": encoded(PICTURE, "PNG"),
    "palette": encoded(PICTURE.quantize(16), "PNG"),
    "webp": encoded(PICTURE, "WEBP"),
    "avif": encoded(PICTURE, "AVIF"),
    "gif": encoded(PICTURE, "GIF", save_all=True, append_images=[PICTURE.rotate(90)]),
    "bmp": encoded(PICTURE, "BMP"),
    "tiff": encoded(PICTURE, "TIFF", compression="tiff_lzw"),
}
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


@given(broken_pictures())
@ANY_EXAMPLES
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
