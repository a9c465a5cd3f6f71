"""The Open Inference Protocol, version 2 of KServe's REST API, which Triton and MLServer speak too: tensors in, tensors out.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from service.engine.generator import Generator
from service.errors import ServiceError, TooLarge
from service.problems import Problem, lane_died, to_problem
from service.routes.dependencies import check_key, get_pipeline
from service.routes.tensors import EXTENSIONS, HEADER, Tensor, read_tensor, write_tensor
from service.routes.translate import while_connected
from service.routes.uploads import read_body

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
        401: "Keys are configured and none that fits was sent",
        404: "Unknown model or version",
        413: "More bytes, pictures or pixels than the service takes",
        503: "Full queue, not ready, or draining; with Retry-After",
        504: "The deadline passed",
    }.items()
}
NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "description": "A direction."}
MODEL = {"parameters": [NAME]}
VERSION = {"parameters": [NAME, NAME | {"name": "version", "description": "The one that is served."}]}
ASKED = {
    "requestBody": {
        "required": True,
        "description": f"JSON, with the tensor `pictures`, UINT8 [n, h, w, 3], in it or, with the header {HEADER}, behind it.",
        "content": {
            "application/json": {"schema": {"type": "object", "example": EXAMPLE}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}


class Worded(APIRoute):
    """Its handlers are called with the request and nothing else, and their errors are worded as the protocol has them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            try:
                return await self.endpoint(request)
            except (Problem, ServiceError) as error:
                problem = to_problem(error)
                status = 413 if isinstance(error, TooLarge) else problem.status
                return JSONResponse({"error": problem.detail}, status, problem.headers)

        return handle


router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], route_class=Worded)


@router.get("", operation_id="server_metadata")
async def server(request: Request) -> Response:
    """What this server is."""
    return JSONResponse({"name": request.app.title, "version": request.app.version, "extensions": EXTENSIONS})


@router.get("/health/live", operation_id="server_live", responses={503: ERRORS[503]})
async def live(request: Request) -> Response:
    """200 while the process can do work."""
    if not get_pipeline(request).engine.alive:
        raise lane_died()
    return JSONResponse({"live": True})


@router.get("/health/ready", operation_id="server_ready", responses={503: ERRORS[503]})
async def ready(request: Request) -> Response:
    """200 once every model is loaded and warmed up."""
    get_pipeline(request).engine.check_ready()
    return JSONResponse({"ready": True})


@router.get("/models/{name}", operation_id="model_metadata", responses=ERRORS, openapi_extra=MODEL)
@router.get("/models/{name}/versions/{version}", operation_id="model_version_metadata", responses=ERRORS, openapi_extra=VERSION)
async def metadata(request: Request) -> Response:
    """What a model takes and gives; -1 is any size."""
    generator = _model(request)
    tensor = {"datatype": "UINT8", "shape": [-1, -1, -1, 3]}
    return JSONResponse({
        "name": generator.direction,
        "versions": [_version(generator)],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "pictures"} | tensor],
        "outputs": [{"name": "translations"} | tensor],
    })  # fmt: skip


@router.get("/models/{name}/ready", operation_id="model_ready", responses=ERRORS, openapi_extra=MODEL)
@router.get("/models/{name}/versions/{version}/ready", operation_id="model_version_ready", responses=ERRORS, openapi_extra=VERSION)
async def model_ready(request: Request) -> Response:
    """200 once the model is loaded and warmed up."""
    return JSONResponse({"name": _model(request).direction, "ready": True})


@router.post("/models/{name}/infer", operation_id="infer", responses=ERRORS, openapi_extra=MODEL | ASKED)
@router.post("/models/{name}/versions/{version}/infer", operation_id="infer_version", responses=ERRORS, openapi_extra=VERSION | ASKED)
async def infer(request: Request) -> Response:
    """Translate the `pictures`, UINT8 [n, h, w, 3], to `translations` of the same shape."""
    generator, pipeline = _model(request), get_pipeline(request)
    if "content-encoding" in request.headers:
        raise Problem(400, "Compressed body", "Compressed bodies are not taken: send it without Content-Encoding.")
    body = await read_body(request, pipeline.settings.max_upload_bytes)
    deadline = pipeline.deadline()
    inference, pictures = await asyncio.to_thread(read_tensor, body, request.headers.get(HEADER))
    request.state.facts.update(direction=generator.direction, pictures=len(pictures), bytes_in=len(body))
    if len(pictures) > pipeline.settings.max_files:
        raise Problem(413, "Too many pictures", f"The batch is larger than {pipeline.settings.max_files}: send it in several requests.")
    translations = np.stack(await while_connected(request, pipeline.translate_pixels(generator, list(pictures), deadline)))
    answer = {"model_name": generator.direction, "model_version": _version(generator)}
    if inference.id is not None:
        answer["id"] = inference.id
    head, content = await asyncio.to_thread(_written, answer, translations, inference.binary_output)
    request.state.facts["bytes_out"] = len(head) + len(content)
    if inference.binary_output:
        return Response(head + content, media_type="application/octet-stream", headers={HEADER: str(len(head))})
    return Response(head, media_type="application/json")


def _written(answer: dict[str, Any], translations: Tensor, binary: bool) -> tuple[bytes, bytes]:
    document, content = write_tensor(answer, translations, binary)
    return json.dumps(document, separators=(",", ":")).encode(), content


def _model(request: Request) -> Generator:
    """The one that the path names. Raises the problem 401, that of an unknown version, NotReady, Draining and UnknownDirection."""
    check_key(request)
    name, version = request.path_params["name"], request.path_params.get("version")
    if version is not None and not version.isdecimal():
        raise Problem(404, "Unknown version", f"Version {version} of {name} is not served: versions are numbers.")
    return get_pipeline(request).engine.generator(name, version and int(version), request.state.request_id)


def _version(generator: Generator) -> str:
    return str(generator.bundle.version.version)
