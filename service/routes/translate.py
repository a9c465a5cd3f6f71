"""POST /translate and /cycle: pictures in, pictures out."""

import asyncio
import json
import time
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import ClientDisconnect

from pictures.encode import SUFFIXES
from service.engine.generator import Generator
from service.etags import etag, matches
from service.pipeline import Answer, Order, Pipeline, Upload
from service.problems import PROBLEM_RESPONSES, Problem, single_picture, to_problem
from service.routes.dependencies import PipelineOf, spend
from service.routes.parameters import Parameters
from service.routes.uploads import read_uploads
from service.telemetry import observe_stages, server_timing

T = TypeVar("T")

BINARY = {"type": "string", "format": "binary"}
PICTURE = {f"image/{name}": {"schema": BINARY} for name in SUFFIXES}
BODY = {
    "requestBody": {
        "required": True,
        "description": "One picture or several, each a file part of any name; or the bytes of one picture.",
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "required": ["image"], "properties": {"image": BINARY}}},
            "image/*": {"schema": BINARY},
        },
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    304: {"description": "If-None-Match names the answer's ETag; nothing was computed."},
    **PROBLEM_RESPONSES,
}
PARAMETERS = frozenset(Parameters.model_fields)

router = APIRouter(tags=["pictures"], dependencies=[Depends(spend)])


@dataclass(frozen=True)
class Job:
    """What a request asks for, once its body is in."""

    pipeline: Pipeline
    order: Order
    uploads: list[Upload]
    deadline: float
    generator: Generator
    asked: str
    """Path and parameters, as far as they change the answer."""


async def read_job(request: Request, pipeline: PipelineOf, parameters: Annotated[Parameters, Query()]) -> AsyncIterator[Job]:
    """What can be refused without the body is refused before it is read. Uploads are removed once the answer has gone."""
    settled = parameters.settled(pipeline.settings.default_size, request.headers.get("accept", ""))
    order = settled.order(request.state.request_id)
    pipeline.check(order)
    request.state.facts["direction"] = order.direction
    begun = time.monotonic()
    async with read_uploads(request, pipeline.settings, PARAMETERS) as uploads:
        request.state.stages["upload"] = time.monotonic() - begun
        request.state.facts["pictures"] = len(uploads)
        generator = pipeline.engine.generator(order.direction, order.version, order.request_id)
        order = replace(order, version=generator.version)  # the same from here on, whatever is loaded meanwhile
        asked = f"{request.scope['route'].path} {settled.model_dump_json()}"
        yield Job(pipeline, order, uploads, pipeline.deadline(), generator, asked)


JobOf = Annotated[Job, Depends(read_job)]


@router.post(
    "/translate",
    operation_id="translate",
    response_class=Response,
    openapi_extra=BODY,
    responses={
        200: {"description": "The translation; of several pictures a ZIP.", "content": PICTURE | {"application/zip": {"schema": BINARY}}},
        **RESPONSES,
    },
)
async def translate(request: Request, job: JobOf) -> Response:
    """Translate one picture, or several. The answer to several is a ZIP in upload order, with `translations.json`."""

    async def work() -> Response:
        begun = time.monotonic()
        answers = await job.pipeline.translate(job.uploads, job.order, job.deadline)
        _observe(request, [each for each in answers if isinstance(each, Answer)], time.monotonic() - begun)
        if len(answers) > 1:
            return await _zip_response(request, job, answers)
        if isinstance(answers[0], Exception):
            raise answers[0]
        return _picture_response(answers[0], f"{job.uploads[0].name}.{job.order.direction}")

    return await _unless_unchanged(request, job, [job.generator.model], work)


@router.post(
    "/cycle",
    operation_id="cycle",
    response_class=Response,
    openapi_extra=BODY,
    responses={200: {"description": "The picture there and back.", "content": PICTURE}, **RESPONSES},
)
async def cycle(request: Request, job: JobOf) -> Response:
    """A picture there and back, F(G(x)); `X-Cycle-Error` is the mean absolute difference, 0 to 255."""
    if len(job.uploads) > 1:
        raise single_picture()
    back = job.pipeline.engine.generator(job.generator.bundle.manifest.inverse, None, job.order.request_id)

    async def work() -> Response:
        begun = time.monotonic()
        answer = await job.pipeline.cycle(job.uploads[0], job.order, job.deadline)
        _observe(request, [answer], time.monotonic() - begun)
        response = _picture_response(answer, f"{job.uploads[0].name}.{job.order.direction}.cycle")
        response.headers["X-Cycle-Error"] = f"{answer.cycle_error:.2f}"
        return response

    return await _unless_unchanged(request, job, [job.generator.model, back.model], work)


async def _unless_unchanged(request: Request, job: Job, models: list[str], work: Callable[[], Coroutine[Any, Any, Response]]) -> Response:
    """The answer that `work` makes, with what caches need; 304 without it where the client has that answer."""
    tagging = asyncio.to_thread(etag, job.asked, models, job.uploads)
    known = request.headers.get("if-none-match")
    if known is None:
        response, tag = await while_connected(request, asyncio.gather(work(), tagging))
    elif matches(tag := await tagging, known):
        response = Response(status_code=304)
    else:
        response = await while_connected(request, work())
    response.headers.update({"Vary": "Accept", "X-Model": job.generator.model})
    if "Cache-Control" not in response.headers:
        response.headers["ETag"] = tag
    request.state.facts["bytes_out"] = len(response.body)
    return response


def _observe(request: Request, answers: Sequence[Answer], seconds: float) -> None:
    """What each stage took, into the metrics and, of the slowest picture, for the log. What is left of `seconds` went by until the
    request was let in."""
    stages, direction = request.state.stages, request.state.facts["direction"]
    admission = max(0, seconds - max((sum(answer.seconds.values()) for answer in answers), default=seconds))
    observe_stages(direction, {"upload": stages["upload"], "admission": admission})
    stages["admission"] = admission
    for answer in answers:
        observe_stages(direction, answer.seconds)
        stages |= {stage: max(spent, stages.get(stage, 0)) for stage, spent in answer.seconds.items()}


def _picture_response(answer: Answer, name: str) -> Response:
    headers = _disposition(f"{name}.{SUFFIXES[answer.format]}") | {"Server-Timing": server_timing(answer.seconds)}
    return Response(answer.content, media_type=f"image/{answer.format}", headers=headers)


async def _zip_response(request: Request, job: Job, answers: Sequence[Answer | Exception]) -> Response:
    headers = _disposition(f"{job.order.direction}.zip")
    if any(isinstance(each, Exception) for each in answers):
        headers["Cache-Control"] = "no-store"  # the next time it may be another one
    outcomes = [to_problem(each) if isinstance(each, Exception) else each for each in answers]
    archive = await asyncio.to_thread(_zip, job.uploads, outcomes, job.order.direction, request.state.request_id)
    return Response(archive, media_type="application/zip", headers=headers)


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


def _disposition(filename: str) -> dict[str, str]:
    """Names beyond ASCII go in the form of RFC 6266."""
    ascii_name = filename.encode("ascii", "replace").decode().replace("?", "_")
    extended = "" if filename.isascii() else f"; filename*=UTF-8''{quote(filename)}"
    return {"Content-Disposition": f'inline; filename="{ascii_name}"{extended}'}


def _zip(uploads: list[Upload], outcomes: Sequence[Answer | Problem], direction: str, request_id: str) -> bytes:
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
