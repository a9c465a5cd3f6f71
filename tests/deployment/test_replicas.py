"""Real service processes behind the real nginx: what becomes of requests when replicas die, restart, or clients are slow."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO

import pytest

from tests.conftest import Service, free_port, is_ready, running_service, wait_until
from tests.deployment.conftest import Nginx, running_nginx


class Replicas:
    """Two services that can be ended and started again, each on its port."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.ports = [free_port(), free_port()]
        self.running = [self._started(port) for port in self.ports]
        for service in self.running:  # which come up beside each other
            wait_until(lambda service=service: is_ready(service.client, service.process), 180)

    def _started(self, port: int) -> Service:
        return self._stack.enter_context(running_service(port=port, drain_seconds=0.5, ready=False))

    def restart(self, number: int) -> None:
        process = self.running[number].process
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        service = self.running[number] = self._started(self.ports[number])
        wait_until(lambda: is_ready(service.client, service.process), 180)


@pytest.fixture
def replicas() -> Iterator[Replicas]:
    with ExitStack() as stack:
        yield Replicas(stack)


@pytest.fixture
def nginx(replicas: Replicas) -> Iterator[Nginx]:
    with running_nginx(*(service.address for service in replicas.running)) as running:
        yield running


@contextmanager
def load(nginx: Nginx, photo: bytes) -> Iterator[list[int]]:
    """Six clients, each at an address of its own, which send until the end; the statuses that they got."""
    statuses: list[int] = []
    stop = threading.Event()

    def send(number: int) -> None:
        with nginx.client(f"127.0.1.{number}") as client:
            while not stop.is_set():
                answer = client.post("/translate?direction=photo2monet&size=256", files={"image": photo})
                statuses.append(answer.status_code)
                time.sleep(0.05)

    clients = [threading.Thread(target=send, args=(number,)) for number in range(1, 7)]
    for client in clients:
        client.start()
    try:
        _more(statuses, 12)
        yield statuses
        _more(statuses, 24)
    finally:
        stop.set()
        for client in clients:
            client.join(60)


def _more(statuses: list[int], count: int) -> None:
    """Wait for `count` more answers."""
    end, wanted = time.monotonic() + 60, len(statuses) + count
    while len(statuses) < wanted:
        assert time.monotonic() < end, "clients get no answers"
        time.sleep(0.05)


def test_a_replica_that_is_killed_under_load_loses_nothing(nginx: Nginx, replicas: Replicas, photo: bytes) -> None:
    with load(nginx, photo) as statuses:
        replicas.running[0].process.kill()
    assert set(statuses) == {200}


@pytest.mark.slow
def test_slow_clients_and_a_loaded_service_outlive_the_restart_of_every_replica(nginx: Nginx, replicas: Replicas, photo: bytes) -> None:
    """Half an upload, and a picture that is not fetched yet, are nginx's: no replica waits for them."""
    head = f"POST /translate?direction=photo2monet&size=64 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(photo)}\r\n\r\n"
    asked = head.replace("size=64", "size=64&strength=0&output=input&format=png").encode() + photo
    upload, received, over = BytesIO(head.encode() + photo), bytearray(), threading.Event()
    with socket.create_connection(("127.0.0.1", nginx.port), 60) as uploading, socket.socket() as fetching:
        fetching.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        fetching.settimeout(60)
        fetching.connect(("127.0.0.1", nginx.port))
        fetching.sendall(asked)
        uploading.sendall(upload.read(len(photo) // 2))

        def go_on_slowly() -> None:
            while not over.wait(2):
                uploading.sendall(upload.read(500))
                received.extend(fetching.recv(500))

        client = threading.Thread(target=go_on_slowly)
        with load(nginx, photo) as statuses:
            client.start()
            for number in range(2):
                replicas.restart(number)
            over.set()
            client.join()
        assert set(statuses) == {200}
        uploading.sendall(upload.read())
        for response in (_read(uploading), bytes(received) + _read(fetching)):
            assert response.startswith(b"HTTP/1.1 200 ")
            headers, _, body = response.partition(b"\r\n\r\n")
            assert f"content-length: {len(body)}" in headers.decode().lower()


def _read(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))
