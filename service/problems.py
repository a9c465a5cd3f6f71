"""Every error that a client can meet, once, as an RFC 9457 problem document."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pictures.errors import NotAPicture, PictureError, TooLongForFormat, TooManyPixels
from service.errors import Problem

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
        "versions": {"type": "array", "items": {"type": "integer"}, "description": "Those that there are."},
        "limit": {"type": "integer", "description": "Bytes, files or pixels that are taken."},
        "retry_after": {"type": "integer", "description": "Seconds until it is worth to ask again."},
    },
    "examples": [
        {
            "type": "urn:cyclegan:problem:busy",
            "title": "Busy",
            "status": 503,
            "detail": "The service has no time for more at the moment: send the request again in 2 s.",
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
        404: "Unknown direction or version, with those there are",
        408: "A body that stalls",
        413: "More bytes or more files than the service takes",
        415: "Not a picture, or a format that is not allowed",
        422: "A broken picture, too many pixels, or a parameter out of range",
        429: "The key's rate is used up; with Retry-After",
        503: "No time or room for more, not ready, or draining; with Retry-After",
        504: "The deadline passed",
    }.items()
}
"""For the OpenAPI page."""


def no_picture(reason: str = "The body is empty") -> Problem:
    return Problem(400, "No picture", f"{reason}: send a picture as a file of multipart/form-data, or its bytes as the body itself.")


def malformed_body(reason: str) -> Problem:
    return Problem(400, "Malformed body", f"The body cannot be read ({reason}): send multipart/form-data with a boundary, or a picture.")


def encoded(how: str) -> Problem:
    """A picture that was wrapped into something else on its way."""
    return Problem(415, "Encoded picture", f"{how}: send the picture's bytes as they are.")


def misplaced_parameter(name: str) -> Problem:
    detail = f"{name}: it is a field of the form, where only pictures are taken: write it into the address, like /translate?{name}=…"
    return Problem(422, "Invalid parameter", detail)


def unauthorized() -> Problem:
    return Problem(401, "Unauthorized", "Send a key of this service as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")


def rate_used_up(key: str, seconds: int) -> Problem:
    detail = f"The key {key} has used up its rate: send the request again in {seconds} s."
    return Problem(429, "Too many requests", detail, retry_after=seconds)


def stalled(seconds: float) -> Problem:
    return Problem(408, "Stalled body", f"Too little of the body came in within {seconds:g} s: send the request again, faster.")


def upload_too_large(limit: int) -> Problem:
    return Problem(413, "Upload too large", f"The body is larger than {limit:,} bytes: send fewer or smaller pictures.", limit=limit)


def too_many_files(limit: int) -> Problem:
    return Problem(413, "Too many files", f"The body holds more than {limit} files: send them in several requests.", limit=limit)


def no_room_for_uploads(seconds: int) -> Problem:
    detail = f"The service holds as many uploads as it has room for: send the request again in {seconds} s."
    return Problem(503, "No room for uploads", detail, retry_after=seconds)


def single_picture() -> Problem:
    return Problem(400, "Several pictures", "This takes one picture at a time: send one.")


def lane_died() -> Problem:
    return Problem(503, "Lane died", "This process can do no work any more and must be started again.")


def to_problem(error: Exception) -> Problem:
    """What an error is to a client; a defect, 500, where it is none of the client's."""
    match error:
        case Problem():
            return error
        case NotAPicture():
            return Problem(415, "Not a picture", str(error))
        case TooManyPixels():
            return Problem(422, "Too many pixels", str(error), limit=error.limit)
        case TooLongForFormat():
            return Problem(422, "Too long for its format", str(error))
        case PictureError():
            return Problem(422, "Broken picture", str(error))
        case RequestValidationError():
            return Problem(422, "Invalid parameter", "; ".join(map(_parameter_problem, error.errors())))
        case HTTPException():
            return Problem(error.status_code, error.detail, f"{error.detail}: see /docs for what there is.")
    return Problem(500, "Internal error", "A defect of this service, which its log tells more of: please report it with the request_id.")


def _parameter_problem(error: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in error["loc"][1:]) or str(error["loc"][0])
    match error["type"]:
        case "missing":
            return f"{name}: it is required, in the address, like /translate?{name}=…; not as a field of the form"
        case "extra_forbidden":
            return f"{name}: there is no such parameter; /docs lists those there are"
    return f"{name}: {error['msg']}"


async def answer(request: Request, error: Exception) -> Response:
    """An error's problem document."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # which nobody will read
    problem = to_problem(error)
    headers = problem.headers | dict(getattr(error, "headers", None) or {})
    return JSONResponse(problem.document(request.state.request_id), problem.status, headers, media_type=MEDIA_TYPE)


async def answer_defect(request: Request, error: Exception) -> Response:
    """That of an error that nobody foresaw, outside all middleware."""
    response = await answer(request, error)
    response.headers["X-Request-ID"] = request.state.request_id
    return response


def install(app: FastAPI) -> None:
    """Answer every error with its problem document."""
    for kind in (Problem, PictureError, HTTPException, RequestValidationError, ClientDisconnect):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(Exception, answer_defect)
