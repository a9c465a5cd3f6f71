"""Why a request is not answered with a translation: problems (RFC 9457), raised wherever they are found."""

import math
from typing import Any


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
        if self.status == 408:
            headers["Connection"] = "close"
        return headers


class UnknownDirection(Problem):
    def __init__(self, direction: str, directions: list[str]) -> None:
        told = f"There is no direction {direction}. There are: {', '.join(directions) or 'none'}."
        super().__init__(404, "Unknown direction", told, directions=directions)


class UnknownVersion(Problem):
    def __init__(self, direction: str, version: int, versions: list[int]) -> None:
        told = f"Version {version} of {direction} is not served: there are {', '.join(map(str, versions))}."
        super().__init__(404, "Unknown version", told, versions=versions)


class TooMuch(Problem):
    """More than this server could do by the deadline if it had nothing else to do: `told` says how much it could."""

    def __init__(self, told: str) -> None:
        super().__init__(422, "Too much at once", told)


class TooLarge(Problem):
    """More pixels, or a longer side, than can be: `limit` says how many."""

    def __init__(self, told: str, limit: int) -> None:
        super().__init__(422, "Size too large", told, limit=limit)


class Busy(Problem):
    """No time for it beside what was let in before, until in so many `seconds`."""

    def __init__(self, seconds: float) -> None:
        again = max(1, math.ceil(seconds))
        told = f"The service has no time for more at the moment: send the request again in {again} s."
        super().__init__(503, "Busy", told, retry_after=again)


class NotReady(Problem):
    """The generators are still being loaded, or none could be, as is `told`."""

    def __init__(self, told: str) -> None:
        super().__init__(503, "Not ready", told, retry_after=1)


class Draining(Problem):
    def __init__(self) -> None:
        super().__init__(503, "Draining", "This server is stopping: send the request again, to another one.", retry_after=1)


class DeadlinePassed(Problem):
    """Nothing is computed for the request any more."""

    def __init__(self) -> None:
        super().__init__(504, "Deadline passed", "No answer in time: send it again later, or a smaller picture.")


class InferenceFailed(Problem):
    """The session failed on this very picture."""

    def __init__(self) -> None:
        told = "The generator could not translate this picture: a defect, please report it."
        super().__init__(500, "Inference failed", told)
