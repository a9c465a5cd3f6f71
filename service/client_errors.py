"""What service.client raises."""

from typing import Any

import httpx


class ClientError(Exception):
    """What the service, or the way to it, did not do; the message says what to do."""


class ConnectionFailed(ClientError):
    """No answer came: the service cannot be reached, or took too long."""


class ProblemError(ClientError):
    """The service's problem document (RFC 9457). Each status of the contract has a class of its own below."""

    def __init__(self, status: int, document: dict[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.type: str = document.get("type", "about:blank")
        self.title: str = document.get("title", f"Status {status}")
        self.detail: str = document.get("detail", self.title)
        self.request_id: str | None = document.get("request_id")
        self.retry_after = retry_after
        """Seconds until it is worth to ask again."""
        self.helps = {key: value for key, value in document.items() if key not in ("type", "title", "status", "detail", "request_id")}
        """Further members, like `directions` and `limit`."""
        super().__init__(self.detail)


class BadRequestError(ProblemError): ...


class AuthenticationError(ProblemError): ...


class UnknownDirectionError(ProblemError): ...


class UploadTooLargeError(ProblemError): ...


class NotAPictureError(ProblemError): ...


class UnprocessableError(ProblemError):
    """A broken picture, one with too many pixels, or a parameter that is unknown or out of range."""


class RateLimitError(ProblemError): ...


class ServiceUnavailableError(ProblemError):
    """No room, not ready, or draining."""


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
    """Raises ProblemError."""
    if response.is_success:
        return response
    try:
        document = response.json()
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    seconds = response.headers.get("retry-after", "")
    retry_after = float(seconds) if seconds.isdecimal() else None
    raise _CLASSES.get(response.status_code, ProblemError)(response.status_code, document, retry_after)
