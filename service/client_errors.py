"""The exceptions of service.client."""

from typing import Any

import httpx


class ClientError(Exception):
    """The service did not give the answer; the message says what to do."""


class ConnectionFailed(ClientError):
    """The service cannot be reached, or took too long."""


class ProblemError(ClientError):
    """The service answered with a problem document (RFC 9457). The subclasses below stand for one status each."""

    def __init__(self, status: int, document: dict[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.type: str = document.get("type", "about:blank")
        self.title: str = document.get("title", f"Status {status}")
        self.detail: str = document.get("detail", self.title)
        self.request_id: str | None = document.get("request_id")
        self.retry_after = retry_after  # seconds to wait before the next try
        self.helps = {key: value for key, value in document.items() if key not in ("type", "title", "status", "detail", "request_id")}
        """Extra members of the document, such as `directions` and `limit`."""
        super().__init__(self.detail)


class BadRequestError(ProblemError): ...


class AuthenticationError(ProblemError): ...


class UnknownDirectionError(ProblemError): ...


class UploadTooLargeError(ProblemError): ...


class NotAPictureError(ProblemError): ...


class UnprocessableError(ProblemError):
    """A broken picture, too many pixels, or a parameter that is unknown or out of range."""


class RateLimitError(ProblemError): ...


class ServiceUnavailableError(ProblemError):
    """The service is too busy, not ready, or draining."""


class DeadlinePassedError(ProblemError): ...


_CLASSES: dict[int, type[ProblemError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    404: UnknownDirectionError,
    413: UploadTooLargeError,
    415: NotAPictureError,
    422: UnprocessableError,
    429: RateLimitError,
    503: ServiceUnavailableError,
    504: DeadlinePassedError,
}


def checked(response: httpx.Response) -> httpx.Response:
    """Return a successful response; raise ProblemError for any other."""
    if response.is_success:
        return response
    try:
        document = response.json()
    except ValueError:
        document = None
    seconds = response.headers.get("retry-after", "")
    retry_after = float(seconds) if seconds.isdecimal() else None
    error = _CLASSES.get(response.status_code, ProblemError)
    raise error(response.status_code, document if isinstance(document, dict) else {}, retry_after)
