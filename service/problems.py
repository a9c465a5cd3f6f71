"""Every error that a client can meet, once, as an RFC 9457 problem document."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pictures.errors import BrokenPicture, NotAPicture, PictureError, TooLongForFormat, TooManyPixels
from service.engine.queue import (
    DeadlinePassed,
    Draining,
    EngineError,
    InferenceFailed,
    NotReady,
    QueueFull,
    TooLarge,
    UnknownDirection,
)

MEDIA_TYPE = "application/problem+json"


PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "What went wrong, and what to do (RFC 9457).",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "Names the kind of problem; never changes."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What to do."},
        "request_id": {"type": "string", "description": "By which the service's log knows the request."},
        "directions": {"type": "array", "items": {"type": "string"}, "description": "Those that there are."},
        "limit": {"type": "integer", "description": "Bytes, files or pixels that are taken."},
        "retry_after": {"type": "integer", "description": "Seconds until it is worth to ask again."},
    },
    "examples": [
        {
            "type": "urn:cyclegan:problem:queue-full",
            "title": "Queue full",
            "status": 503,
            "detail": "The queue is full: send the request again in 2 s.",
            "request_id": "0f8d2c9be8a44d5b9d3a7d8f5c1e6a70",
            "retry_after": 2,
        }
    ],
}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status, description in {
        400: "No picture in the body, or a malformed body",
        401: "Keys are configured and none that fits was sent",
        404: "Unknown direction, with those there are",
        413: "More bytes or more files than the service takes",
        415: "Not a picture, or a format that is not allowed",
        422: "A broken picture, too many pixels, or a parameter out of range",
        503: "Full queue, not ready, or draining; with Retry-After",
        504: "The deadline passed",
    }.items()
}
"""For the OpenAPI page."""


class Problem(Exception):
    """`detail` says what to do; `helps` are further members, like `directions`, `limit` and `retry_after`."""

    def __init__(self, status: int, title: str, detail: str, **helps: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.helps = helps

    def document(self, request_id: str) -> dict[str, Any]:
        slug = self.title.lower().replace(" ", "-")
        return {
            "type": f"urn:cyclegan:problem:{slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
            **self.helps,
        }

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Retry-After": str(self.helps["retry_after"])} if "retry_after" in self.helps else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


def no_picture() -> Problem:
    return Problem(400, "No picture", "The body holds no picture: send one as a file of multipart/form-data, or as the body itself.")


def malformed_body(reason: str) -> Problem:
    return Problem(400, "Malformed body", f"The body cannot be read ({reason}): send multipart/form-data with a boundary, or a picture.")


def unauthorized() -> Problem:
    return Problem(401, "Unauthorized", "Send a key of this service as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")


def upload_too_large(limit: int) -> Problem:
    return Problem(413, "Upload too large", f"The body is larger than {limit:,} bytes: send fewer or smaller pictures.", limit=limit)


def too_many_files(limit: int) -> Problem:
    return Problem(413, "Too many files", f"The body holds more than {limit} files: send them in several requests.", limit=limit)


def single_picture() -> Problem:
    return Problem(400, "Several pictures", "This takes one picture at a time: send one.")


def lane_died() -> Problem:
    return Problem(503, "Lane died", "This process can do no work any more and must be started again.")


def to_problem(error: Exception) -> Problem:
    """The problem that an error of the rooms is to a client; a defect, 500, where it is none of theirs."""
    match error:
        case Problem():
            return error
        case UnknownDirection():
            known = ", ".join(error.directions) or "none"
            return Problem(404, "Unknown direction", f"There is no direction {error}. There are: {known}.", directions=error.directions)
        case NotAPicture():
            return Problem(415, "Not a picture", str(error))
        case TooManyPixels():
            return Problem(422, "Too many pixels", str(error), limit=error.limit)
        case TooLongForFormat():
            return Problem(422, "Too long for its format", str(error))
        case BrokenPicture():
            return Problem(422, "Broken picture", str(error))
        case TooLarge():
            return Problem(422, "Size too large", str(error), limit=error.limit)
        case QueueFull():
            detail = f"The queue is full: send the request again in {error.retry_after} s."
            return Problem(503, "Queue full", detail, retry_after=error.retry_after)
        case NotReady():
            return Problem(503, "Not ready", "The models are being loaded: send the request again shortly.", retry_after=1)
        case Draining():
            return Problem(503, "Draining", "This server is stopping: send the request again, to another one.", retry_after=1)
        case DeadlinePassed():
            return Problem(504, "Deadline passed", "No answer in time: send it again later, or a smaller picture.")
        case RequestValidationError():
            return Problem(422, "Invalid parameter", "; ".join(map(_parameter_problem, error.errors())))
        case HTTPException():
            return Problem(error.status_code, error.detail, f"{error.detail}: see /docs for what there is.")
        case InferenceFailed():
            return Problem(500, "Inference failed", "The generator could not translate this picture: a defect, please report it.")
    return Problem(500, "Internal error", "A defect of this service, which its log tells more of: please report it with the request_id.")


def _parameter_problem(error: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in error["loc"][1:]) or str(error["loc"][0])
    return f"{name}: {error['msg']}"


async def answer(request: Request, error: Exception) -> Response:
    """An error's problem document."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # which nobody will read
    problem = to_problem(error)
    headers = problem.headers | dict(getattr(error, "headers", None) or {})
    return JSONResponse(problem.document(request.state.request_id), problem.status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error with its problem document."""
    for kind in (Problem, EngineError, PictureError, HTTPException, RequestValidationError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, answer)
