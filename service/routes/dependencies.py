"""What handlers ask of a request."""

from typing import Annotated

from fastapi import Depends, Request

from service import problems
from service.errors import Draining
from service.keys import Key, Keys
from service.pipeline import Pipeline


async def get_pipeline(request: Request) -> Pipeline:
    return request.app.state.pipeline


async def check_key(request: Request) -> Key | None:
    """The key that was sent; None where none is needed. Raises the problem 401."""
    keys: Keys = request.app.state.keys
    if keys.open_to_all:
        return None
    key = keys.find(sent_key(request))
    if key is None:
        raise problems.unauthorized()
    request.state.facts["key"] = key.name
    return key


async def spend(request: Request) -> None:
    """Counts the request against the rate of its key. Raises the problems 401 and 429."""
    key = await check_key(request)
    if key and (spent := request.app.state.keys.spend(key)):
        request.state.headers.update(spent.headers)
        if not spent.within:
            raise problems.rate_used_up(key.name, spent.seconds)


def check_ready(request: Request) -> None:
    """Whether load balancers are to send more. Raises NotReady, and Draining from SIGTERM on, when all that comes is answered still."""
    request.app.state.pipeline.engine.check_ready()
    if request.app.state.draining:
        raise Draining


def sent_key(request: Request) -> str:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    return (bearer if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")).strip()


PipelineOf = Annotated[Pipeline, Depends(get_pipeline)]
