"""Turn every error into an RFC 9457 problem document, and describe these documents for OpenAPI."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pictures.errors import NotAPicture, PictureError, TooLongForFormat, TooManyPixels
from service.errors import Busy, Problem

MEDIA_TYPE = "application/problem+json"
PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "What went wrong, and what to do (RFC 9457).",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "Names the kind of problem. It never changes."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What to do."},
        "request_id": {"type": "string", "description": "Identifies the request in the service's log."},
        "directions": {"type": "array", "items": {"type": "string"}, "description": "The available directions."},
        "versions": {"type": "array", "items": {"type": "integer"}, "description": "The available versions."},
        "limit": {"type": "integer", "description": "The largest number of bytes, files or pixels that is accepted."},
        "retry_after": {"type": "integer", "description": "Seconds to wait before the next try."},
    },
    "examples": [Busy(2).document("0f8d2c9be8a44d5b9d3a7d8f5c1e6a70")],
}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status, description in {
        400: "No picture in the body, or a malformed body",
        401: "The service requires a key, and the request has no valid one",
        404: "Unknown direction or version; lists the available ones",
        408: "The body stalled",
        413: "More bytes or files than the service accepts",
        415: "Not a picture, or a format that is not allowed",
        422: "A broken picture, too many pixels, or a parameter out of range",
        429: "The key's rate is used up; with Retry-After",
        503: "Too busy, not ready, or draining; with Retry-After",
        504: "The deadline passed",
    }.items()
}


def no_picture(reason: str = "The body is empty") -> Problem:
    return Problem(400, "No picture", f"{reason}: send a picture as a file of multipart/form-data, or its bytes as the body itself.")


def malformed_body(reason: str) -> Problem:
    return Problem(400, "Malformed body", f"The body cannot be read ({reason}): send multipart/form-data with a boundary, or a picture.")


def encoded(reason: str) -> Problem:
    return Problem(415, "Encoded picture", f"{reason}: send the picture's bytes as they are.")


def misplaced_parameter(name: str) -> Problem:
    detail = f"{name}: a form may only contain pictures: put parameters into the URL, like /translate?{name}=…"
    return Problem(422, "Invalid parameter", detail)


def unauthorized() -> Problem:
    return Problem(401, "Unauthorized", "Send a key of this service as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")


def rate_used_up(key: str, seconds: int) -> Problem:
    detail = f"The key {key} has used up its rate: send the request again in {seconds} s."
    return Problem(429, "Too many requests", detail, retry_after=seconds)


def stalled(seconds: float) -> Problem:
    return Problem(408, "Stalled body", f"Too little of the body arrived within {seconds:g} s: send the request again, faster.")


def upload_too_large(limit: int) -> Problem:
    return Problem(413, "Upload too large", f"The body is larger than {limit:,} bytes: send fewer or smaller pictures.", limit=limit)


def too_many_files(limit: int) -> Problem:
    return Problem(413, "Too many files", f"The body holds more than {limit} files: send them in several requests.", limit=limit)


def no_room_for_uploads(seconds: int) -> Problem:
    detail = f"The service has no room for more uploads: send the request again in {seconds} s."
    return Problem(503, "No room for uploads", detail, retry_after=seconds)


def single_picture() -> Problem:
    return Problem(400, "Several pictures", "/cycle accepts one picture at a time: send one.")


def lane_died() -> Problem:
    return Problem(503, "Lane died", "This process cannot work any more and must be restarted.")


def to_problem(error: Exception) -> Problem:
    """Return the problem that a client sees for an error; 500 for a bug in the service."""
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
            return Problem(error.status_code, error.detail, f"{error.detail}: /docs lists what the service offers.")
    return Problem(500, "Internal error", "This is a bug in the service; its log has the details. Please report it with the request_id.")


def _parameter_problem(error: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in error["loc"][1:]) or str(error["loc"][0])
    match error["type"]:
        case "missing":
            return f"{name}: this parameter is required; put it into the URL, like /translate?{name}=…, not into the form"
        case "extra_forbidden":
            return f"{name}: there is no such parameter; /docs lists the parameters"
    return f"{name}: {error['msg']}"


async def answer(request: Request, error: Exception) -> Response:
    """Respond with the problem document of an error."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # nobody will read it
    problem = to_problem(error)
    headers = problem.headers | dict(getattr(error, "headers", None) or {})
    return JSONResponse(problem.document(request.state.request_id), problem.status, headers, media_type=MEDIA_TYPE)


async def answer_unexpected(request: Request, error: Exception) -> Response:
    """Respond to an unexpected error. This runs outside all middleware, so it sets the request's id itself."""
    response = await answer(request, error)
    response.headers["X-Request-ID"] = request.state.request_id
    return response


def install(app: FastAPI) -> None:
    """Register handlers that answer every error with its problem document."""
    for kind in (Problem, PictureError, HTTPException, RequestValidationError, ClientDisconnect):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(Exception, answer_unexpected)
