"""Wires the rooms."""

import asyncio
import gc
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from service import __version__, openapi, problems, tracing
from service.engine.engine import Engine
from service.pipeline import Pipeline
from service.routes import directions, health, inference, translate
from service.routes.direct import Direct
from service.settings import Settings
from service.telemetry import LINES, Observer, configure_logging

WEB = Path(__file__).parent / "web"
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "manifest-src 'self'; worker-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Service-Worker-Allowed": "/",  # the worker lies in /web and keeps the page at /
    "X-Content-Type-Options": "nosniff",
}
DESCRIPTION = "Unpaired image translation with CycleGAN: send a picture, get it back as the other domain would have it."


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service. `settings` come from the environment where none are given."""
    settings = settings or Settings()
    configure_logging(settings.log_format)
    engine = Engine(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            gc.freeze()  # what is loaded by now stays, so collections need not walk through it again and again
            warming = asyncio.create_task(engine.serve(await engine.open()))  # /health answers meanwhile
            _handle_signals(engine, settings.drain_seconds)
            if settings.workers > 1:
                await warming  # and until then it does not listen: others do
            yield
            await warming
            await engine.stop()
        finally:
            LINES.write_out()  # here, since SIGTERM ends the process before uvicorn returns

    app = FastAPIOffline(  # FastAPI whose /docs asks nothing of anyone else
        title="CycleGAN service", description=DESCRIPTION, version=__version__, lifespan=lifespan, redoc_url=None, static_url="/web/docs",
        telemetry={"tracing": False, "metrics": False, "logs": False},  # tracing.py does, and it costs nothing where nobody asks for it
    )  # fmt: skip
    app.state.pipeline = Pipeline(settings, engine)
    problems.install(app)
    openapi.install(app)
    for room in (translate, directions, health, inference):
        app.include_router(room.router)
    app.mount("/web", PageFiles(directory=WEB), name="web")
    app.add_api_route("/", _page, include_in_schema=False)
    app.middleware_stack = Observer(tracing.traced(Direct(app.build_middleware_stack(), translate.router.routes)))
    return app


class PageFiles(StaticFiles):
    """The page's files, with the page's headers."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers.update(PAGE_HEADERS)
        return response


async def _page() -> FileResponse:
    return FileResponse(WEB / "index.html", headers=PAGE_HEADERS)


def _handle_signals(engine: Engine, drain_seconds: float) -> None:
    """SIGTERM fails readiness first, and stops the server `drain_seconds` later, when load balancers have seen it.
    SIGHUP loads what is new."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread is sent signals
    loop = asyncio.get_running_loop()
    stop = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: FrameType | None) -> None:
        engine.draining = True
        if callable(stop):
            loop.call_soon_threadsafe(loop.call_later, drain_seconds, stop, number, frame)

    signal.signal(signal.SIGTERM, drain)
    if hasattr(signal, "SIGHUP"):
        tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps none
        loop.add_signal_handler(signal.SIGHUP, lambda: tasks.add(loop.create_task(engine.reload())))
