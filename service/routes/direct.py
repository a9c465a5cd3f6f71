"""A way past FastAPI's routing for what is asked for by the thousand."""

from collections.abc import Sequence

import structlog
from fastapi import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service import problems

log = structlog.get_logger()


class Direct:
    """ASGI middleware: calls the handlers of `routes` with the request and nothing else, which has nothing to resolve.

    In the layers that every other request goes through, the event loop holds the interpreter's lock, and codecs wait for it.
    FastAPI knows these `routes` as well: for the OpenAPI page, and for what is not found here, like a method that they do not take.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self._routes = {(method, route.path): route for route in routes if isinstance(route, Route) for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope.get("method", ""), scope.get("path", "")))
        if route is None:
            await self.app(scope, receive, send)
            return
        scope["route"] = route  # as a router would; Observer asks for it
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except Exception as error:
            response = await problems.answer(request, error)
            if response.status_code == 500:
                log.exception("a defect")
        await response(scope, receive, send)
