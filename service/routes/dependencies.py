"""FastAPI dependencies of the route handlers."""

from typing import Annotated

from fastapi import Depends, Request

from service import problems
from service.errors import Draining
from service.keys import Key, Keys
from service.pipeline import Pipeline


async def get_pipeline(request: Request) -> Pipeline:
    return request.app.state.pipeline


PipelineDep = Annotated[Pipeline, Depends(get_pipeline)]


async def check_key(request: Request) -> Key | None:
    """Return the request's key, or None if the service is open to all. Raises the problem 401 for a missing or unknown key."""
    keys: Keys = request.app.state.keys
    if keys.open_to_all:
        return None
    key = keys.find(read_key(request))
    if key is None:
        raise problems.unauthorized()
    request.state.facts["key"] = key.name
    return key


async def check_rate(request: Request) -> None:
    """Count the request against the rate limit of its key. Raises the problems 401 and 429."""
    key = await check_key(request)
    if key and (usage := request.app.state.keys.count_request(key)):
        request.state.headers.update(usage.headers)
        if not usage.allowed:
            raise problems.rate_used_up(key.name, usage.seconds)


async def check_alive(pipeline: PipelineDep) -> None:
    """Raise the problem 503 if the process cannot work any more."""
    if not pipeline.engine.alive:
        raise problems.lane_died()


async def check_ready(request: Request, pipeline: PipelineDep) -> None:
    """Raise NotReady or Draining if load balancers should send no more requests. While draining, the service still answers all requests."""
    pipeline.engine.check_ready()
    if request.app.state.draining:
        raise Draining


def read_key(request: Request) -> str:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    return (bearer if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")).strip()
