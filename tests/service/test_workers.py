"""Several processes on one port."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from service.settings import usable_cpus
from tests.conftest import ROOT, Service, free_port, running_service, wait_until
from tests.service.test_reload import add_version

LANES = 2 * max(1, usable_cpus() // 2)


@pytest.fixture
def two(models: Path) -> Iterator[Service]:
    with running_service(workers=2, models=models) as running:
        wait_until(lambda: metric(running, "cyclegan_lanes") == LANES)
        yield running


def workers(service: Service) -> list[psutil.Process]:
    """Not Python's own helper, nor one that has died."""
    children = psutil.Process(service.process.pid).children()
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(child.cmdline())]


def send(service: Service, photo: bytes, size: int = 64) -> httpx.Response:
    """On a connection of its own, which may be any worker's."""
    return httpx.post(f"{service.url}/translate?direction=photo2monet&size={size}", content=photo, timeout=60)


def metric(service: Service, name: str) -> float:
    text = httpx.get(f"{service.url}/metrics").text
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def test_workers_share_the_requests_and_any_of_them_tells_the_metrics_of_all(two: Service, photo: bytes) -> None:
    before = [sum(worker.cpu_times()[:2]) for worker in workers(two)]
    with ThreadPoolExecutor(8) as clients:
        answers = [clients.submit(send, two, photo) for _ in range(60)]
    assert {answer.result().status_code for answer in answers} == {200}
    assert len({answer.result().content for answer in answers}) == 1
    assert all(sum(worker.cpu_times()[:2]) > start for worker, start in zip(workers(two), before, strict=True))
    assert [metric(two, "cyclegan_inference_seconds_count") for _ in range(6)] == [metric(two, "cyclegan_inference_seconds_count")] * 6
    assert metric(two, 'cyclegan_requests_total{path="/translate",status="200"}') == 60
    assert metric(two, "cyclegan_queue_length") == 0


def test_a_worker_that_dies_is_replaced_and_the_other_serves_meanwhile(two: Service, photo: bytes) -> None:
    victim, other = workers(two)
    victim.kill()
    wait_until(lambda: len(workers(two)) == 2 and victim not in workers(two))
    assert other in workers(two)
    assert [send(two, photo).status_code for _ in range(20)] == [200] * 20
    wait_until(lambda: metric(two, "cyclegan_lanes") == LANES)
    assert [send(two, photo).status_code for _ in range(8)] == [200] * 8


def test_sighup_reaches_every_worker_with_no_request_lost(two: Service, photo: bytes, models: Path) -> None:
    with ThreadPoolExecutor(4) as clients:
        pending = [clients.submit(send, two, photo) for _ in range(40)]
        number = add_version(models / "photo2monet", sound=True)
        two.process.send_signal(signal.SIGHUP)
        wait_until(lambda: {httpx.get(f"{two.url}/directions").json()[0]["version"] for _ in range(12)} == {number})
    assert {answer.result().status_code for answer in pending} == {200}


def test_sigterm_answers_what_every_worker_has_taken(two: Service, photo: bytes) -> None:
    with ThreadPoolExecutor(12) as clients:
        pending = [clients.submit(send, two, photo, 512) for _ in range(12)]
        wait_until(lambda: metric(two, "cyclegan_inference_seconds_count") > 2)
        two.process.send_signal(signal.SIGTERM)
    assert {answer.result().status_code for answer in pending} == {200}
    assert two.process.wait(30) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{two.url}/health/live")


def test_workers_end_with_the_process_that_started_them(two: Service) -> None:
    orphans = workers(two)
    two.process.kill()
    assert not psutil.wait_procs(orphans, timeout=30)[1]


@pytest.mark.parametrize(("taken", "why"), [(True, "cannot listen on 127.0.0.1"), (False, "no bundle in")])
def test_workers_that_cannot_start_end_the_service_and_say_why(taken: bool, why: str, tmp_path: Path, service: Service) -> None:
    port = service.address.rpartition(":")[2] if taken else str(free_port())
    settings = {"CYCLEGAN_WORKERS": "2", "CYCLEGAN_HOST": "127.0.0.1", "CYCLEGAN_PORT": port, "CYCLEGAN_MODELS": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "service"], cwd=ROOT, env=os.environ | settings, stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert ended.returncode != 0
    assert why in ended.stderr
