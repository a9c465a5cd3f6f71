"""Problems (RFC 9457): the reasons why a request gets an error instead of a translation."""

import math
from typing import Any


class Problem(Exception):
    """An error that the client sees. `detail` says what to do; `helps` are extra members, such as `directions` and `retry_after`."""

    def __init__(self, status: int, title: str, detail: str, **helps: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.helps = helps

    def document(self, request_id: str) -> dict[str, Any]:
        kind = f"urn:cyclegan:problem:{self.title.lower().replace(' ', '-')}"
        members = {"type": kind, "title": self.title, "status": self.status, "detail": self.detail, "request_id": request_id}
        return members | self.helps

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Retry-After": str(self.helps["retry_after"])} if "retry_after" in self.helps else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status == 408:
            headers["Connection"] = "close"
        return headers


class UnknownDirection(Problem):
    def __init__(self, direction: str, directions: list[str]) -> None:
        detail = f"There is no direction {direction}. There are: {', '.join(directions) or 'none'}."
        super().__init__(404, "Unknown direction", detail, directions=directions)


class UnknownVersion(Problem):
    def __init__(self, direction: str, version: int, versions: list[int]) -> None:
        detail = f"Version {version} of {direction} is not served: there are {', '.join(map(str, versions))}."
        super().__init__(404, "Unknown version", detail, versions=versions)


class TooMuch(Problem):
    """The request needs more work than this server can do before the deadline, even when it is idle. `detail` says how much would fit."""

    def __init__(self, detail: str) -> None:
        super().__init__(422, "Too much at once", detail)


class TooLarge(Problem):
    """The picture has more pixels, or a longer side, than `limit`."""

    def __init__(self, detail: str, limit: int) -> None:
        super().__init__(422, "Size too large", detail, limit=limit)


class Busy(Problem):
    """Admitted requests take all the time; there is room again in about `seconds`."""

    def __init__(self, seconds: float) -> None:
        retry_after = max(1, math.ceil(seconds))
        detail = f"The service has no time for more at the moment: send the request again in {retry_after} s."
        super().__init__(503, "Busy", detail, retry_after=retry_after)


class NotReady(Problem):
    """The generators are still loading, or none of them can run; `detail` says which."""

    def __init__(self, detail: str) -> None:
        super().__init__(503, "Not ready", detail, retry_after=1)


class Draining(Problem):
    def __init__(self) -> None:
        super().__init__(503, "Draining", "This server is stopping: send the request again, to another server.", retry_after=1)


class DeadlinePassed(Problem):
    """The deadline has passed, and work on the request has stopped."""

    def __init__(self) -> None:
        super().__init__(504, "Deadline passed", "There was no answer in time: send the request again later, or send a smaller picture.")


class InferenceFailed(Problem):
    """The session failed on this picture."""

    def __init__(self) -> None:
        super().__init__(500, "Inference failed", "The generator could not translate this picture. This is a bug: please report it.")
