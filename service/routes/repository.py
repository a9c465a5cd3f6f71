"""The repository extension of the Open Inference Protocol, as Triton defines it: list, load and unload models. It needs a key of its own.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

import hmac
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from service.errors import Problem
from service.problems import unauthorized
from service.routes.dependencies import PipelineDep, read_key
from service.routes.inference import ERRORS, ProtocolRoute


async def check_repository_key(request: Request, pipeline: PipelineDep) -> None:
    """Raise the problem 404 if no repository key is set, and 401 if the request's key does not match it."""
    key = pipeline.settings.repository_key
    if key is None:
        raise Problem(404, "Not Found", "Loading models over HTTP is off: CYCLEGAN_REPOSITORY_KEY is not set.")
    if not hmac.compare_digest(key.get_secret_value().encode(), read_key(request).encode()):
        raise unauthorized()


router = APIRouter(
    prefix="/v2/repository",
    tags=["Open Inference Protocol"],
    route_class=ProtocolRoute,
    dependencies=[Depends(check_repository_key)],
    responses={status: ERRORS[status] for status in (400, 401, 404)},
)


class IndexQuery(BaseModel):
    ready: bool = False  # list only models that are ready


@router.post("/index", operation_id="repository_index")
async def index(pipeline: PipelineDep, query: IndexQuery | None = None) -> list[dict[str, Any]]:
    """List every version in the models folder with its state."""
    return [entry for entry in pipeline.engine.catalog.index() if entry["state"] == "READY" or not (query and query.ready)]


@router.post("/models/{name}/load", operation_id="repository_load")
async def load(pipeline: PipelineDep, name: str) -> Response:
    """Load new versions of a model. If they do not load, the versions that are served stay."""
    await pipeline.engine.load(name)
    return JSONResponse({})


@router.post("/models/{name}/unload", operation_id="repository_unload")
async def unload(pipeline: PipelineDep, name: str) -> Response:
    """Stop serving a model. Requests that it is working on are still answered."""
    await pipeline.engine.unload(name)
    return JSONResponse({})
