"""`CYCLEGAN_WORKERS` above one: so many processes on one port, each with sessions and a queue of its own.

One interpreter's lock bounds how many pictures a second a process can take in and give out, however many CPUs it has.
"""

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType

import structlog
from prometheus_client.multiprocess import mark_process_dead

from service.server import CANNOT_START, serve
from service.settings import Settings
from service.telemetry import configure_logging

log = structlog.get_logger()


def serve_with_workers(settings: Settings) -> None:
    """Until SIGTERM or Ctrl-C, which end every worker as they would end one process. SIGHUP is passed on, too. A worker that
    dies is replaced, unless it cannot start. Raises SystemExit where none can, and where the port is taken."""
    configure_logging(settings.log_format)
    context = multiprocessing.get_context("spawn")
    workers: list[BaseProcess] = []
    stopping = failed = False

    def start() -> None:
        with _bound(settings.host, port, reuse_port=True) as own:
            workers.append(context.Process(target=_work, args=(settings, own)))
            workers[-1].start()
        if stopping:  # since it was asked for
            pass_on(signal.SIGTERM, None)

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = stopping or number != signal.SIGHUP
        for worker in workers:
            if worker.is_alive() and worker.pid:
                os.kill(worker.pid, signal.SIGTERM if stopping else signal.SIGHUP)

    with _bound(settings.host, settings.port) as alone, tempfile.TemporaryDirectory(prefix="cyclegan-metrics-") as folder:
        port = alone.getsockname()[1]
        alone.close()  # it was free
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # where prometheus_client adds the workers' metrics up
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, pass_on)
        for _ in range(settings.workers):
            start()
        while workers:
            wait([worker.sentinel for worker in workers])
            for worker in [worker for worker in workers if not worker.is_alive()]:
                workers.remove(worker)
                mark_process_dead(worker.pid, folder)
                failed = worker.exitcode == CANNOT_START
                if not failed and not stopping:
                    log.error("worker died: another takes its place", pid=worker.pid, exit_code=worker.exitcode)
                    start()
    if failed and not stopping:
        sys.exit(CANNOT_START)


def _work(settings: Settings, bound: socket.socket) -> None:
    """What a worker does. It ends with the process that started it, however that ends."""
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    serve(settings, bound)


def _outlive_nobody() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _bound(host: str, port: int, reuse_port: bool = False) -> socket.socket:
    """A socket that does not listen yet. With one for each worker (`reuse_port`) Linux deals connections out among those that
    listen; one that they shared would give whoever is first as many as wait. Raises SystemExit."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        raise SystemExit(f"error: cannot listen on {host}:{port}: {error.strerror}") from None
    return bound
