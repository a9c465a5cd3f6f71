"""POST /translate and /cycle: pictures in, pictures out."""

import asyncio
import json
import time
import zipfile
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import ClientDisconnect

from pictures.encode import SUFFIXES
from service.etags import Tag
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
UNCHANGED = {304: {"description": "If-None-Match names the answer's ETag: nothing was done."}}
PARAMETERS = frozenset(Parameters.model_fields)

router = APIRouter(tags=["pictures"], dependencies=[Depends(spend)])


@dataclass(frozen=True)
class Job:
    """What a request asks for, once its body is in."""

    pipeline: Pipeline
    order: Order
    uploads: list[Upload]
    deadline: float
    tag: Tag


async def accept(request: Request, pipeline: PipelineOf, parameters: Annotated[Parameters, Query()]) -> AsyncIterator[Job]:
    """What can be refused without the body is refused before it is read. Uploads are removed once the answer has gone."""
    order = parameters.order(pipeline.settings.default_size, request.headers.get("accept", ""), request.state.request_id)
    pipeline.check(order)
    facts = request.state.facts
    facts["direction"] = order.direction
    begun = time.monotonic()
    async with read_uploads(request, pipeline.settings, PARAMETERS) as uploads:
        request.state.stages["upload"] = time.monotonic() - begun
        ...
        yield Job(pipeline, order, uploads, pipeline.deadline(), tag)
