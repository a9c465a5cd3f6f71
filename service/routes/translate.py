"""POST /translate and /cycle: pictures in, pictures out."""

import asyncio
import json
import zipfile
from collections.abc import Awaitable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from pictures.encode import SUFFIXES
from service.pipeline import Answer, Order, Pipeline, Upload
from service.problems import PROBLEM_RESPONSES, Problem, single_picture, to_problem
from service.routes.dependencies import check_key, get_pipeline
from service.routes.parameters import Parameters
from service.routes.uploads import read_uploads
from service.telemetry import server_timing

T = TypeVar("T")

BINARY = {"type": "string", "format": "binary"}
PICTURE = {f"image/{name}": {"schema": BINARY} for name in SUFFIXES}
ASKED = {
    "parameters": Parameters.openapi(),
    "requestBody": {
        "required": True,
        "description": "One picture or several, each a file part of any name; or the bytes of one picture.",
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "required": ["image"], "properties": {"image": BINARY}}},
            "image/*": {"schema": BINARY},
        },
    },
}


@dataclass(frozen=True)
class Job:
    """What a request of this room asks for, once its body is in."""

    pipeline: Pipeline
    order: Order
    uploads: list[Upload]
    deadline: float


async def accept(request: Request) -> Job:
    """What can be refused without the body is refused before it is read; what can be without its pixels, before they are decoded."""
    check_key(request)
    pipeline, parameters = get_pipeline(request), Parameters.of(request)
    order = parameters.order(pipeline.settings, request.headers.get("accept", ""), request.state.request_id)
    pipeline.check(order)
    request.state.facts["direction"] = parameters.direction
    uploads = await read_uploads(request, pipeline.settings)
    bytes_in = sum(len(upload.source) for upload in uploads if isinstance(upload.source, bytes))
    request.state.facts.update(pictures=len(uploads), bytes_in=bytes_in)
    return Job(pipeline, order, uploads, pipeline.deadline())


router = APIRouter(tags=["pictures"])


@router.post(
    "/translate",
    operation_id="translate",
    response_class=Response,
    openapi_extra=ASKED,
    responses={
        200: {"description": "The translation; of several pictures a ZIP.", "content": PICTURE | {"application/zip": {"schema": BINARY}}},
        **PROBLEM_RESPONSES,
    },
)
async def translate(request: Request) -> Response:
    """Translate one picture, or several. The answer to several is a ZIP in upload order, with `translations.json`."""
    job = await accept(request)
    direction = job.order.direction
    answers = await while_connected(request, job.pipeline.translate(job.uploads, job.order, job.deadline))
    if len(job.uploads) == 1:
        if isinstance(answers[0], Exception):
            raise answers[0]
        return _picture_response(request, answers[0], f"{job.uploads[0].name}.{direction}")
    outcomes = [to_problem(answer) if isinstance(answer, Exception) else answer for answer in answers]
    archive = await asyncio.to_thread(_zip, job.uploads, outcomes, direction, request.state.request_id)
    request.state.facts["bytes_out"] = len(archive)
    return Response(archive, media_type="application/zip", headers=_disposition(f"{direction}.zip"))


@router.post(
    "/cycle",
    operation_id="cycle",
    response_class=Response,
    openapi_extra=ASKED,
    responses={200: {"description": "The picture there and back.", "content": PICTURE}, **PROBLEM_RESPONSES},
)
async def cycle(request: Request) -> Response:
    """A picture there and back, F(G(x)); `X-Cycle-Error` is the mean absolute difference, 0 to 255."""
    job = await accept(request)
    if len(job.uploads) > 1:
        raise single_picture()
    answer = await while_connected(request, job.pipeline.cycle(job.uploads[0], job.order, job.deadline))
    response = _picture_response(request, answer, f"{job.uploads[0].name}.{job.order.direction}.cycle")
    response.headers["X-Cycle-Error"] = f"{answer.cycle_error:.2f}"
    return response


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled once the client hangs up. Raises ClientDisconnect."""
    worker = asyncio.current_task()
    assert worker is not None
    watch = asyncio.create_task(_cancel_on_disconnect(request, worker))
    try:
        return await work
    except asyncio.CancelledError:
        if watch.done():
            worker.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        watch.cancel()


async def _cancel_on_disconnect(request: Request, worker: asyncio.Task[Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    worker.cancel()


def _picture_response(request: Request, answer: Answer, name: str) -> Response:
    request.state.facts["bytes_out"] = len(answer.content)
    request.state.facts.update({f"{stage}_ms": round(seconds * 1000, 1) for stage, seconds in answer.seconds.items()})
    headers = {"Vary": "Accept", "X-Model": answer.model, "Server-Timing": server_timing(answer.seconds)}
    headers |= _disposition(f"{name}.{SUFFIXES[answer.format]}")
    return Response(answer.content, media_type=f"image/{answer.format}", headers=headers)


def _disposition(filename: str) -> dict[str, str]:
    """Names beyond ASCII go in the form of RFC 6266."""
    ascii_name = filename.encode("ascii", "replace").decode().replace("?", "_")
    extended = "" if filename.isascii() else f"; filename*=UTF-8''{quote(filename)}"
    return {"Content-Disposition": f'inline; filename="{ascii_name}"{extended}'}


def _zip(uploads: list[Upload], outcomes: list[Answer | Problem], direction: str, request_id: str) -> bytes:
    """Numbered so that the order holds and no name is there twice; stored, since pictures do not shrink further."""
    buffer = BytesIO()
    translations = []
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, (upload, outcome) in enumerate(zip(uploads, outcomes, strict=True), start=1):
            entry: dict[str, Any] = {"name": upload.name, "status": 200}
            if isinstance(outcome, Problem):
                entry |= {"status": outcome.status, "problem": outcome.document(request_id)}
            else:
                entry["file"] = f"{number:02d}-{upload.name}.{direction}.{SUFFIXES[outcome.format]}"
                archive.writestr(entry["file"], outcome.content)
            translations.append(entry)
        archive.writestr("translations.json", json.dumps(translations, indent=2))
    return buffer.getvalue()
