"""POST /translate and /cycle: pictures in, pictures out."""

import asyncio
import hashlib
import json
import time
import zipfile
from collections.abc import Awaitable, Iterable, Sequence
from io import BytesIO
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import ClientDisconnect

from pictures.encode import SUFFIXES
from service.engine.generator import Generator
from service.errors import Problem
from service.parameters import Parameters
from service.pipeline import Answer, Pipeline, Upload
from service.problems import PROBLEM_RESPONSES, single_picture, to_problem
from service.routes.dependencies import PipelineDep, check_rate
from service.routes.uploads import read_uploads
from service.telemetry import observe_stages

T = TypeVar("T")

BINARY = {"type": "string", "format": "binary"}
PICTURE = {f"image/{name}": {"schema": BINARY} for name in SUFFIXES}
BODY = {
    "requestBody": {
        "required": True,
        "description": "One or more pictures as file parts of any name, or the bytes of one picture.",
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "required": ["image"], "properties": {"image": BINARY}}},
            "image/*": {"schema": BINARY},
        },
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The translation, or a ZIP of several.", "content": PICTURE | {"application/zip": {"schema": BINARY}}},
    304: {"description": "If-None-Match contains the answer's ETag; nothing was computed."},
    **PROBLEM_RESPONSES,
}
CYCLE_RESPONSES = RESPONSES | {200: {"description": "The picture, translated there and back.", "content": PICTURE}}
PARAMETERS = frozenset(Parameters.model_fields)

router = APIRouter(tags=["pictures"], dependencies=[Depends(check_rate)])


@router.post("/translate", operation_id="translate", response_class=Response, openapi_extra=BODY, responses=RESPONSES)
async def translate(request: Request, pipeline: PipelineDep, parameters: Annotated[Parameters, Query()]) -> Response:
    """Translate one or more pictures. Several come back as a ZIP in upload order, with `translations.json`."""
    return await _respond(request, pipeline, parameters)


@router.post("/cycle", operation_id="cycle", response_class=Response, openapi_extra=BODY, responses=CYCLE_RESPONSES)
async def cycle(request: Request, pipeline: PipelineDep, parameters: Annotated[Parameters, Query()]) -> Response:
    """Translate a picture there and back, F(G(x)). `X-Cycle-Error` is the mean absolute difference, 0 to 255."""
    return await _respond(request, pipeline, parameters, back=True)


async def _respond(request: Request, pipeline: Pipeline, parameters: Parameters, back: bool = False) -> Response:
    """Translate the request's pictures, and `back` again. Whatever can be refused without the body is refused before the body is read."""
    state, engine = request.state, pipeline.engine
    parameters = parameters.resolve(pipeline.settings.default_size, request.headers.get("accept", ""))
    generators = [engine.generator(parameters.direction, parameters.version, state.request_id)]
    if back:
        generators.append(engine.generator(generators[0].bundle.manifest.inverse, None, state.request_id))
    pipeline.check(parameters.direction)
    state.facts["direction"] = parameters.direction
    started_at = time.monotonic()
    async with read_uploads(request, pipeline.settings, PARAMETERS) as uploads:
        deadline = pipeline.deadline()
        state.stages["upload"] = time.monotonic() - started_at
        state.facts["pictures"] = len(uploads)
        if back and len(uploads) > 1:
            raise single_picture()
        etag = _etag(f"{request.scope['route'].path} {parameters.model_dump_json()}", generators, uploads)
        if etag in (tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")):
            response = Response(status_code=304)
        else:
            answers = await while_connected(request, pipeline.translate(uploads, parameters, generators, deadline))
            _observe(request, [each for each in answers if isinstance(each, Answer)], started_at)
            if len(answers) > 1:
                response = await _zip_response(request, uploads, answers, parameters.direction)
            else:
                response = _picture_response(answers[0], f"{uploads[0].name}.{parameters.direction}{'.cycle' if back else ''}")
    response.headers.update({"Vary": "Accept", "X-Model": generators[0].model})
    if "Cache-Control" not in response.headers:
        response.headers["ETag"] = etag
    state.facts["bytes_out"] = len(response.body)
    return response


def _etag(query: str, generators: Iterable[Generator], uploads: Iterable[Upload]) -> str:
    """Return the answer's ETag, which needs no decoding: the same query (path and parameters), models and pictures give the same answer."""
    digest = hashlib.sha256("\n".join([query, *(generator.model for generator in generators)]).encode())
    for upload in uploads:
        digest.update(f"\n{upload.name}\n".encode() + upload.sha256)
    return f'"{digest.hexdigest()[:32]}"'


def _observe(request: Request, answers: Sequence[Answer], started_at: float) -> None:
    """Record the time of each stage, in the metrics and, for the slowest picture, in the log. Admission is the time between the others."""
    stages, direction = request.state.stages, request.state.facts["direction"]
    seconds = time.monotonic() - started_at - stages["upload"]
    stages["admission"] = max(0, seconds - max((sum(answer.seconds.values()) for answer in answers), default=seconds))
    admitted_at = started_at + stages["upload"] + stages["admission"]
    observe_stages(direction, stages, started_at)
    for answer in answers:
        observe_stages(direction, answer.seconds, admitted_at)
        stages |= {stage: max(duration, stages.get(stage, 0)) for stage, duration in answer.seconds.items()}


def _picture_response(answer: Answer | Exception, name: str) -> Response:
    if isinstance(answer, Exception):
        raise answer
    headers = _disposition(f"{name}.{SUFFIXES[answer.format]}")
    headers["Server-Timing"] = ", ".join(f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in answer.seconds.items())
    if answer.cycle_error is not None:
        headers["X-Cycle-Error"] = f"{answer.cycle_error:.2f}"
    return Response(answer.content, media_type=f"image/{answer.format}", headers=headers)


async def _zip_response(request: Request, uploads: Sequence[Upload], answers: Sequence[Answer | Exception], direction: str) -> Response:
    headers = _disposition(f"{direction}.zip")
    if any(isinstance(each, Exception) for each in answers):
        headers["Cache-Control"] = "no-store"  # the next try may succeed
    outcomes = [to_problem(each) if isinstance(each, Exception) else each for each in answers]
    archive = await asyncio.to_thread(_zip, uploads, outcomes, direction, request.state.request_id)
    return Response(archive, media_type="application/zip", headers=headers)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Return the result of `work`, which is cancelled if the client disconnects. Raises ClientDisconnect."""
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


def _disposition(filename: str) -> dict[str, str]:
    """Return the Content-Disposition header; a name that is not ASCII is encoded as RFC 6266 says."""
    ascii_name = filename.encode("ascii", "replace").decode().replace("?", "_")
    extended = "" if filename.isascii() else f"; filename*=UTF-8''{quote(filename)}"
    return {"Content-Disposition": f'inline; filename="{ascii_name}"{extended}'}


def _zip(uploads: Sequence[Upload], outcomes: Sequence[Answer | Problem], direction: str, request_id: str) -> bytes:
    """Return an archive of all translations. Numbers keep their order and make names unique. Pictures are stored, as they do not shrink."""
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
