"""Ray Serve with docker/cluster.yaml, on a real cluster of two nodes on this machine, behind the real nginx."""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from tests.conftest import ROOT, decoded, free_port, wait_until
from tests.deployment.conftest import running_nginx
from tests.deployment.test_replicas import load

PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Node:
    """What one machine of a cluster would run."""

    process: psutil.Process
    port: int
    """Of its HTTP proxy."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def replicas(self) -> int:
        found = 0
        for process in self.process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # Ray starts and ends short-lived ones all the time
                found += "ServeReplica:cyclegan" in process.name()
        return found

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """As where a machine loses its power."""
        if self.process.is_running():
            processes = [self.process, *self.process.children(recursive=True)]
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, 10)


@pytest.fixture
def nodes() -> Iterator[tuple[Node, Node]]:
    """The head, and one more."""
    gcs = free_port()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        ports = [free_port(), free_port()]
        environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex()}
        environment["RAY_SERVE_WORKER_PROXY_HTTP_PORT"] = str(ports[1])  # since both nodes are on one machine
        environment["RAY_raylet_start_wait_time_s"] = "120"  # where others use the machine, too
        places = [
            ["--head", f"--port={gcs}", f"--ray-client-server-port={free_port()}", "--include-dashboard=false", f"--temp-dir={name}"],
            [f"--address=127.0.0.1:{gcs}"],
        ]
        nodes = [
            stack.enter_context(_running_node(place, port, Path(name), environment)) for place, port in zip(places, ports, strict=True)
        ]
        configuration = yaml.safe_load((ROOT / "docker" / "cluster.yaml").read_text())
        configuration["http_options"]["port"] = ports[0]
        (Path(name) / "cluster.yaml").write_text(yaml.safe_dump(configuration))
        command = [PROGRAMS / "serve", "run", "--address", f"127.0.0.1:{gcs}", "--working-dir", ".", f"{name}/cluster.yaml"]
        serve = subprocess.Popen(command, cwd=ROOT, env=environment)
        stack.callback(serve.wait, 10)
        stack.callback(serve.kill)
        wait_until(lambda: _serving(serve, nodes), 180)
        yield nodes[0], nodes[1]


def _serving(serve: subprocess.Popen, nodes: list[Node]) -> bool:
    assert serve.poll() is None, "serve run ended; its log tells why"
    return all(node.answers() for node in nodes)


@contextmanager
def _running_node(place: list[str], port: int, folder: Path, environment: dict[str, str]) -> Iterator[Node]:
    """Away from the project: the node knows of it what it is sent."""
    size = ["--num-cpus=4", "--object-store-memory=80000000", "--min-worker-port=0", "--max-worker-port=0"]
    command = [PROGRAMS / "ray", "start", *place, *size, "--disable-usage-stats", "--block"]
    with open(folder / f"{port}.log", "w+") as log:
        started = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        node = Node(psutil.Process(started.pid), port)
        try:
            wait_until(lambda: _started(started, Path(log.name)), 120)
            yield node
        finally:
            node.kill()
            started.wait(10)


def _started(ray: subprocess.Popen, log: Path) -> bool:
    assert ray.poll() is None, log.read_text()
    return "Ray runtime started" in log.read_text()


@pytest.mark.slow
def test_both_nodes_serve_and_one_that_is_killed_under_load_loses_nothing(nodes: tuple[Node, Node], photo: bytes) -> None:
    for node in nodes:
        assert node.replicas() == 1
        response = httpx.post(f"{node.url}/translate?direction=photo2monet", files={"image": photo}, timeout=60)
        assert decoded(response.content).shape == (342, 512, 3)
    head, other = nodes
    with running_nginx(*(f"127.0.0.1:{node.port}" for node in nodes)) as nginx, load(nginx, photo) as statuses:
        other.kill()
        wait_until(lambda: head.replicas() == 2, 120)
    assert set(statuses) == {200}
