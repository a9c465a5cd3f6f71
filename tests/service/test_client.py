"""service.client against the real service, and against a server that refuses on purpose."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.client import (
    AsyncClient,
    AuthenticationError,
    Client,
    ClientError,
    ConnectionFailed,
    NotAPictureError,
    ProblemError,
    ServiceUnavailableError,
    TranslatedPicture,
    UnknownDirectionError,
    UnprocessableError,
)
from tests.conftest import PHOTO, Service, decoded, free_port, running_service


def test_a_picture_comes_back_as_from_the_service_itself(service: Service, photo: bytes) -> None:
    with Client(service.url) as client:
        picture = client.translate(PHOTO, "photo2monet", size=128, format="webp", keep_colors=True)
        assert picture.name == "china.photo2monet.webp"
        assert picture.content == service.translate(photo, size=128, format="webp", keep_colors="true").content
        assert picture.request_id
        assert client.cycle(photo, "photo2monet", size=64).cycle_error
        assert {each["direction"] for each in client.directions()} == {"photo2monet", "monet2photo"}


def test_problems_are_typed_exceptions(service: Service, photo: bytes) -> None:
    with Client(service.url) as client:
        with pytest.raises(UnknownDirectionError, match="photo2monet") as unknown:
            client.translate(photo, "nowhere")
        assert "photo2monet" in unknown.value.helps["directions"]
        assert unknown.value.request_id
        with pytest.raises(NotAPictureError):
            client.translate(b"no picture", "photo2monet")
        with pytest.raises(UnprocessableError):
            client.translate(photo[:100_000], "photo2monet")
        with pytest.raises(UnprocessableError, match="quality"):
            client.translate(photo, "photo2monet", quality=1000)


def test_pictures_in_flight_keep_their_order_and_a_bad_one_spoils_none(service: Service, photo: bytes) -> None:
    sources = [photo, b"no picture", photo, photo]

    async def concurrently() -> list[TranslatedPicture | ClientError]:
        async with AsyncClient(service.url) as client:
            return [outcome async for outcome in client.translate_many(sources, "photo2monet", in_flight=3, size=64)]

    with Client(service.url) as client:
        outcomes = list(client.translate_many(sources, "photo2monet", in_flight=3, size=64))
    for each in (outcomes, asyncio.run(concurrently())):
        assert [type(outcome) for outcome in each] == [TranslatedPicture, NotAPictureError, TranslatedPicture, TranslatedPicture]
        assert decoded(each[0].content).shape == (43, 64, 3)  # type: ignore[union-attr]


def test_a_service_that_is_overrun_answers_all_in_the_end(photo: bytes) -> None:
    with running_service(max_queue_pixels=128 * 128, api_keys="secret") as service:
        with Client(service.url, key="secret") as client:
            outcomes = list(client.translate_many([photo] * 16, "photo2monet", in_flight=16, size=128))
        assert {type(outcome) for outcome in outcomes} == {TranslatedPicture}
        with Client(service.url) as client, pytest.raises(AuthenticationError):
            client.translate(photo, "photo2monet")


@contextmanager
def scripted(*answers: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[float]]]:
    """A server that gives one answer after another, the last for ever; its address, and when it was asked."""
    asked: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            asked.append(time.monotonic())
            answers[min(len(asked), len(answers)) - 1](self)

        def log_message(self, format: str, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        serving.join()


def answer(status: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def give(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"content_type": "image/png", "content_length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return give


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_retry_after_is_waited_for_and_lost_connections_are_made_again(kind: str) -> None:
    async def translate_async(url: str) -> TranslatedPicture:
        async with AsyncClient(url) as client:
            return await client.translate(b"picture", "photo2monet")

    with scripted(answer(503, retry_after="1"), hang_up, answer(502), answer(200)) as (url, asked):
        if kind == "sync":
            with Client(url) as client:
                assert client.translate(b"picture", "photo2monet").format == "png"
        else:
            assert asyncio.run(translate_async(url)).format == "png"
        assert len(asked) == 4
        assert asked[1] - asked[0] >= 1


def test_patience_ends_and_what_cannot_get_better_is_not_tried_again() -> None:
    with scripted(answer(503, retry_after="30")) as (url, asked), Client(url, patience=5) as client:
        with pytest.raises(ServiceUnavailableError) as refused:
            client.translate(b"picture", "photo2monet")
        assert refused.value.retry_after == 30
        assert len(asked) == 1
    with scripted(answer(500)) as (url, asked), Client(url) as client:
        with pytest.raises(ProblemError, match="500"):
            client.translate(b"picture", "photo2monet")
        assert len(asked) == 1
    with Client(f"http://127.0.0.1:{free_port()}", patience=1) as client, pytest.raises(ConnectionFailed, match="address"):
        client.directions()
