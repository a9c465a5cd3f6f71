"""What a running service lets in, and what becomes of the others when something happens to one picture."""

import io
import json
import re
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psutil
import pytest
from PIL import Image

from tests.conftest import PHOTO, Service, assert_problem, encoded, running_service, wait_until


def resized(width: int, height: int, file_format: str = "JPEG") -> bytes:
    return encoded(Image.open(PHOTO).resize((width, height)), file_format)


def send_all(service: Service, files: list[tuple[str, bytes]], **parameters: object) -> httpx.Response:
    """As one form."""
    parts = [("image", file) for file in files]
    return service.client.post("/translate", params={"direction": "photo2monet", **parameters}, files=parts)  # type: ignore[dict-item]


def outcomes(response: httpx.Response) -> list[int]:
    """Each picture's status."""
    assert response.status_code == 200, response.text[:500]
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        return [entry["status"] for entry in json.loads(archive.read("translations.json"))]


def test_what_could_not_be_done_in_time_is_503_with_retry_after_and_the_rest_is_answered(service: Service, photo: bytes) -> None:
    service.translate(photo)
    begun = time.monotonic()
    service.translate(photo)
    deadline = max(4, 12 * (time.monotonic() - begun))  # on a busy machine one picture may take seconds
    with running_service(deadline_seconds=deadline) as running, ThreadPoolExecutor(64) as clients:
        responses = list(clients.map(lambda _: running.translate(photo), range(64)))
        refused = [response for response in responses if response.status_code != 200]
        assert 0 < len(refused) < 64
        for response in refused:
            problem = assert_problem(response, 503)
            assert int(response.headers["retry-after"]) == problem["retry_after"] >= 1
        wait_until(lambda: running.translate(photo).status_code == 200)


def test_many_pictures_of_one_request_are_let_in_together(service: Service) -> None:
    assert outcomes(send_all(service, [(f"{number}.jpg", resized(192, 128)) for number in range(32)])) == [200] * 32


def test_more_than_could_ever_be_done_in_time_is_told_how_much_could() -> None:
    with running_service(deadline_seconds=20) as running:
        response = send_all(running, [("photo.jpg", resized(3000, 2000))] * 32, size="original")
        assert re.search(r"send \d+ at a time|ask for size=\d+", assert_problem(response, 422)["detail"])


def test_a_codec_that_dies_fails_its_own_picture_and_no_other(photo: bytes) -> None:
    with running_service(codecs=2, deadline_seconds=60) as running, ThreadPoolExecutor(17) as clients:
        template = psutil.Process(running.process.pid).children()[0]
        slow = clients.submit(running.translate, resized(5000, 3300, "PNG"), size=64)
        wait_until(lambda: any(process.memory_info().rss > 100 * 2**20 for process in template.children()))
        others = [clients.submit(running.translate, photo, size=64) for _ in range(15)]
        max(template.children(), key=lambda process: process.memory_info().rss).kill()
        assert "cannot be decoded" in assert_problem(slow.result(), 422)["detail"]
        assert [answer.result().status_code for answer in others] == [200] * 15


def test_a_picture_whose_client_has_gone_is_not_decoded_any_further(photo: bytes) -> None:
    with running_service(codecs=1) as running:
        (codec,) = psutil.Process(running.process.pid).children()[0].children()
        url = f"{running.url}/translate?direction=photo2monet&size=64"
        with suppress(httpx.ReadTimeout):
            httpx.post(url, content=resized(7000, 5000, "PNG"), timeout=httpx.Timeout(60, read=0.3))
        wait_until(lambda: not codec.is_running(), seconds=5)
        assert running.translate(photo, size=64).status_code == 200


@pytest.mark.parametrize(("file_format", "side"), [("webp", 17_000), ("jpeg", 66_000), ("avif", 66_000)])
def test_a_side_that_the_answers_format_cannot_have_is_a_problem_of_that_picture_alone(
    service: Service, file_format: str, side: int
) -> None:
    long = encoded(Image.new("RGB", (side, 8), "teal"), "PNG")
    problem = assert_problem(service.translate(long, size=64, output="input", format=file_format), 422)
    assert "format=png" in problem["detail"]
    answers = send_all(service, [("long.png", long), ("good.png", resized(96, 64, "PNG"))], size=64, output="input", format=file_format)
    assert outcomes(answers) == [422, 200]


SHAPES = [(8, 40_000), (40_000, 1), (1, 1)]


def test_pictures_of_extreme_shapes_take_no_more_memory_than_their_pixels_ask_for() -> None:
    """And nobody waits for them: the event loop answers all the while."""
    with running_service(deadline_seconds=300) as running, ThreadPoolExecutor(1) as client:
        process = psutil.Process(running.process.pid)
        before = most = process.memory_info().rss
        waited, started = 0.0, time.monotonic()
        for width, height in SHAPES:
            picture = encoded(Image.new("RGB", (width, height), "teal"), "PNG")
            url = f"{running.url}/translate?direction=photo2monet&size=original&format=png"
            pending = client.submit(httpx.post, url, content=picture, timeout=300)
            while not pending.done():
                begun = time.monotonic()
                assert httpx.get(f"{running.url}/health/live", timeout=60).status_code == 200
                waited = max(waited, time.monotonic() - begun)
                most = max(most, process.memory_info().rss)
                time.sleep(0.05)
            assert Image.open(io.BytesIO(pending.result().content)).size == (width, height)
        assert most - before < 300 * 2**20
        assert waited < (time.monotonic() - started) / 4


def test_narrow_pictures_are_refused_where_padding_would_make_them_too_large() -> None:
    with running_service(max_pixels=1_000_000) as running:
        narrow = encoded(Image.new("RGB", (900_000, 1), "teal"), "PNG")
        assert "smaller `size`" in assert_problem(running.translate(narrow, size="original", format="png"), 422)["detail"]
        tensor = {"inputs": [{"name": "pictures", "datatype": "UINT8", "shape": [1, 1, 900_000, 3]}]}
        tensor["inputs"][0] |= {"data": [7] * 2_700_000}
        assert running.client.post("/v2/models/photo2monet/infer", json=tensor).status_code == 413
