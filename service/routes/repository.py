"""The Open Inference Protocol's repository extension, as Triton has it: what there is, load, unload. Off without a key of its own.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

import hmac
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from service.errors import Problem
from service.problems import unauthorized
from service.routes.dependencies import PipelineOf, sent_key
from service.routes.inference import ERRORS, ProtocolRoute


async def check_repository_key(request: Request, pipeline: PipelineOf) -> None:
    """Raises the problems 404, where there is no such key, and 401."""
    key = pipeline.settings.repository_key
    if key is None:
        raise Problem(404, "Not Found", "Models are not loaded over HTTP here: CYCLEGAN_REPOSITORY_KEY is not set.")
    if not hmac.compare_digest(key.get_secret_value().encode(), sent_key(request).encode()):
        raise unauthorized()


router = APIRouter(
    prefix="/v2/repository",
    tags=["Open Inference Protocol"],
    route_class=ProtocolRoute,
    dependencies=[Depends(check_repository_key)],
    responses={status: ERRORS[status] for status in (400, 401, 404)},
)


class Asked(BaseModel):
    ready: bool = False
    """Only what is ready."""


@router.post("/index", operation_id="repository_index")
async def index(pipeline: PipelineOf, asked: Asked | None = None) -> list[dict[str, Any]]:
    """Every version in the folder of bundles, and its state."""
    return [entry for entry in pipeline.engine.index() if entry["state"] == "READY" or not (asked and asked.ready)]


@router.post("/models/{name}/load", operation_id="repository_load")
async def load(pipeline: PipelineOf, name: str) -> Response:
    """Serve what is new of a model. What is served of it stays where that does not load."""
    await pipeline.engine.load(name)
    return JSONResponse({})


@router.post("/models/{name}/unload", operation_id="repository_unload")
async def unload(pipeline: PipelineOf, name: str) -> Response:
    """Serve a model no more; what is under way with it is answered."""
    await pipeline.engine.unload(name)
    return JSONResponse({})
