"""The Open Inference Protocol, version 2 of KServe's REST API, which Triton and MLServer implement too: tensors in, tensors out.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from service.engine.generator import Generator
from service.errors import Problem, TooLarge, TooMuch
from service.problems import to_problem
from service.routes.bodies import stream_body
from service.routes.dependencies import PipelineDep, check_alive, check_key, check_rate, check_ready
from service.routes.tensors import EXTENSIONS, HEADER, read_tensor, write_tensor
from service.routes.translate import while_connected

ERROR = {
    "type": "object",
    "title": "InferenceError",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "What went wrong, and what to do."}},
}
EXAMPLE = {"inputs": [{"name": "pictures", "datatype": "UINT8", "shape": [1, 1, 2, 3], "data": [200, 90, 40, 30, 110, 190]}]}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceError"}}}}
    for status, description in {
        400: "Not a request of this protocol",
        401: "The service requires a key, and the request has no valid one",
        404: "Unknown model or version",
        413: "More bytes, pictures or pixels than the service accepts",
        503: "Too busy, not ready, or draining; with Retry-After",
        504: "The deadline passed",
    }.items()
}
BODY = {
    "requestBody": {
        "required": True,
        "description": f"JSON with the tensor `pictures`, UINT8 [n, h, w, 3]. With the header {HEADER}, its data follows the JSON.",
        "content": {
            "application/json": {"schema": {"type": "object", "example": EXAMPLE}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}


class ProtocolRoute(APIRoute):
    """A route that reports errors in the protocol's format."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_errors(request: Request) -> Response:
            try:
                return await handle(request)
            except (Problem, RequestValidationError) as error:
                problem = to_problem(error)
                status = 413 if isinstance(error, TooLarge | TooMuch) else 400 if problem.status == 422 else problem.status
                return JSONResponse({"error": problem.detail}, status, problem.headers)

        return handle_errors


router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], route_class=ProtocolRoute)


@router.get("", operation_id="server_metadata")
async def server(request: Request) -> Response:
    """Name, version and extensions of this server."""
    return JSONResponse({"name": request.app.title, "version": request.app.version, "extensions": EXTENSIONS})


@router.get("/health/live", operation_id="server_live", dependencies=[Depends(check_alive)], responses={503: ERRORS[503]})
async def live() -> Response:
    """Return 200 while the process can work."""
    return JSONResponse({"live": True})


@router.get("/health/ready", operation_id="server_ready", dependencies=[Depends(check_ready)], responses={503: ERRORS[503]})
async def ready() -> Response:
    """Return 200 from the moment that every model is loaded and warmed up until the service is told to stop."""
    return JSONResponse({"ready": True})


async def get_model(request: Request, pipeline: PipelineDep) -> Generator:
    """Return the generator that the path names. Raises NotReady, UnknownDirection and UnknownVersion."""
    name, version = request.path_params["name"], request.path_params.get("version")
    if version is not None and not (version.isascii() and version.isdigit()):
        raise Problem(404, "Unknown version", f"{version} is not a version: versions are numbers, which GET /v2/models/{name} lists.")
    return pipeline.engine.generator(name, None if version is None else int(version), request.state.request_id)


Model = Annotated[Generator, Depends(get_model)]
NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "description": "A direction."}
VERSION = NAME | {"name": "version", "description": "A loaded version."}
ONE = {"parameters": [NAME]}
ONE_VERSION = {"parameters": [NAME, VERSION]}
KEY: dict[str, Any] = {"dependencies": [Depends(check_key)], "responses": ERRORS}
RATED: dict[str, Any] = {"dependencies": [Depends(check_rate)], "responses": ERRORS}


@router.get("/models/{name}", operation_id="model_metadata", openapi_extra=ONE, **KEY)
@router.get("/models/{name}/versions/{version}", operation_id="model_version_metadata", openapi_extra=ONE_VERSION, **KEY)
async def metadata(model: Model, pipeline: PipelineDep) -> Response:
    """Versions, inputs and outputs of a model; -1 stands for any size."""
    tensor = {"datatype": "UINT8", "shape": [-1, -1, -1, 3]}
    return JSONResponse({
        "name": model.direction,
        "versions": [str(each.version) for each in pipeline.engine.catalog.generators if each.direction == model.direction],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "pictures"} | tensor],
        "outputs": [{"name": "translations"} | tensor],
    })  # fmt: skip


@router.get("/models/{name}/ready", operation_id="model_ready", openapi_extra=ONE, **KEY)
@router.get("/models/{name}/versions/{version}/ready", operation_id="model_version_ready", openapi_extra=ONE_VERSION, **KEY)
async def model_ready(model: Model) -> Response:
    """Return 200 once the model is loaded and warmed up."""
    return JSONResponse({"name": model.direction, "ready": True})


@router.post("/models/{name}/infer", operation_id="infer", openapi_extra=ONE | BODY, **RATED)
@router.post("/models/{name}/versions/{version}/infer", operation_id="infer_version", openapi_extra=ONE_VERSION | BODY, **RATED)
async def infer(request: Request, pipeline: PipelineDep, model: Model) -> Response:
    """Translate the `pictures`, UINT8 [n, h, w, 3], to `translations` of the same shape."""
    if "content-encoding" in request.headers:
        raise Problem(400, "Compressed body", "The service does not accept compressed bodies: send it without Content-Encoding.")
    facts, settings, started_at = request.state.facts, pipeline.settings, time.monotonic()
    facts["direction"] = model.direction
    pipeline.check(model.direction)
    with request.app.state.uploads.share() as share:
        body = b"".join([chunk async for chunk in stream_body(request, settings, share)])
        deadline = pipeline.deadline()
        request.state.stages["upload"] = time.monotonic() - started_at
        inference, pictures = await asyncio.to_thread(read_tensor, body, request.headers.get(HEADER))
        facts.update(pictures=len(pictures), bytes_in=len(body))
        if len(pictures) > settings.max_files:
            raise Problem(413, "Too many pictures", f"The batch is larger than {settings.max_files}: send it in several requests.")
        translations = np.stack(await while_connected(request, pipeline.translate_pixels(model, list(pictures), deadline)))
    document = {"model_name": model.direction, "model_version": str(model.version)}
    if inference.id is not None:
        document["id"] = inference.id
    head, content = await asyncio.to_thread(write_tensor, document, translations, inference.binary_output)
    facts["bytes_out"] = len(head) + len(content)
    headers = {"X-Model": model.model}
    if inference.binary_output:
        return Response(head + content, media_type="application/octet-stream", headers=headers | {HEADER: str(len(head))})
    return Response(head, media_type="application/json", headers=headers)
