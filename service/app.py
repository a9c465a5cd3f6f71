"""The FastAPI app: puts the parts of the service together, and handles signals."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from service import __version__, problems
from service.engine.engine import Engine
from service.keys import Keys
from service.machine import usable_cpus, usable_memory
from service.middleware import PROBES, Observer
from service.pipeline import Pipeline
from service.routes import directions, health, inference, page, repository, translate
from service.routes.bodies import Budget
from service.settings import Settings
from service.telemetry import configure_logging

DESCRIPTION = "Unpaired image translation with CycleGAN: send a picture, and get it back as it would look in the other domain."
EXPOSED_HEADERS = (
    "Content-Disposition", "ETag", "RateLimit", "RateLimit-Policy", "Retry-After", "Server-Timing",
    "X-Cycle-Error", "X-Model", "X-Request-ID",
)  # fmt: skip

log = structlog.get_logger()


def create_app(settings: Settings | None = None) -> FastAPI:
    """Create the service. By default, the settings come from the environment."""
    settings = settings or Settings()
    configure_logging(settings.log_format)
    os.environ.setdefault("OTEL_SERVICE_NAME", "cyclegan")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pipeline = app.state.pipeline
        machine = {"cpus": usable_cpus(), "memory_mb": usable_memory() // 2**20}
        log.info("starting", **machine, threads=settings.intra_op_threads, codecs=settings.codecs)
        _handle_signals(app, settings.drain_seconds)
        await pipeline.start()
        gc.freeze()  # exclude everything loaded so far from garbage collection, since it stays
        watch = asyncio.create_task(_exit_if_nothing_works(app, settings.drain_seconds))
        yield
        watch.cancel()
        await pipeline.stop()

    app = FastAPIOffline(  # FastAPI, but /docs loads nothing from other hosts
        title="CycleGAN service", description=DESCRIPTION, version=__version__, lifespan=lifespan, redoc_url=None, static_url="/web/docs",
        root_path=settings.root_path,
        telemetry={  # exports spans to OTEL_EXPORTER_OTLP_ENDPOINT
            "auto_configure": True, "metrics": False, "logs": False, "operation_spans": False,
            "exclude": lambda scope: scope["path"] in PROBES,
        },
    )  # fmt: skip
    app.state.pipeline = Pipeline(settings, Engine(settings))
    app.state.keys = Keys([key.get_secret_value() for key in settings.api_keys], settings.keys_file)
    app.state.uploads = Budget(settings.max_uploads_bytes)
    app.state.draining = app.state.failed = False
    problems.install(app)
    _extend_openapi(app)
    for routes in (translate, directions, health, inference, repository, page):
        app.include_router(routes.router)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"], expose_headers=EXPOSED_HEADERS
        )
    app.add_middleware(Observer, slow_seconds=settings.slow_seconds)
    return app


def _extend_openapi(app: FastAPI) -> None:
    """Describe problems and API keys in the OpenAPI document (https://fastapi.tiangolo.com/how-to/extending-openapi/)."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"] |= {schema["title"]: schema for schema in (problems.PROBLEM, inference.ERROR)}
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "One of CYCLEGAN_API_KEYS, if the service requires a key."},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same."},
        }
        document["security"] = [{}, {"bearer": []}, {"header": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _handle_signals(app: FastAPI, drain_seconds: float) -> None:
    """On SIGTERM, report not ready, and stop `drain_seconds` later, when load balancers have noticed. On SIGHUP, reload keys and models."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread receives signals
    loop = asyncio.get_running_loop()
    stop = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: FrameType | None) -> None:
        app.state.draining = True
        if callable(stop):
            loop.call_soon_threadsafe(loop.call_later, drain_seconds, stop, number, frame)

    signal.signal(signal.SIGTERM, drain)
    tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references
    loop.add_signal_handler(signal.SIGHUP, lambda: tasks.add(loop.create_task(_reload(app))))


async def _exit_if_nothing_works(app: FastAPI, seconds: float) -> None:
    """If no model can be run, let /health/ready report the reason for `seconds`, then end the process."""
    if not await app.state.pipeline.engine.started():
        app.state.failed = True
        await asyncio.sleep(seconds)
        signal.raise_signal(signal.SIGINT)


async def _reload(app: FastAPI) -> None:
    try:
        app.state.keys.reload()
    except ValueError as error:
        log.error("keys not reloaded", reason=str(error))
    await app.state.pipeline.engine.reload()
