"""Why a request is not answered with a translation. service/problems.py says it to the client."""

import math


class ServiceError(Exception):
    """A request that is not answered with a translation."""


class UnknownDirection(ServiceError):
    """No bundle of this direction is served; `directions` are."""

    def __init__(self, direction: str, directions: list[str]) -> None:
        super().__init__(direction)
        self.directions = directions


class UnknownVersion(ServiceError):
    """The direction is served, but not in this version; in `versions` it is."""

    def __init__(self, direction: str, version: int, versions: list[int]) -> None:
        super().__init__(f"Version {version} of {direction} is not served: there are {', '.join(map(str, versions))}.")
        self.versions = versions


class NotReady(ServiceError):
    """The generators are still being loaded, or none could be: the message says why."""


class Draining(ServiceError):
    """The service is stopping."""


class TooMuch(ServiceError):
    """More than this server could do by the deadline if it had nothing else to do: the message says how much it could."""


class TooLarge(ServiceError):
    """More pixels, or a longer side, than can be: `limit` says how many. The message says what to do."""

    def __init__(self, message: str, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class Busy(ServiceError):
    """No time for it beside what was let in before. `retry_after`: seconds until there should be."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"busy for {seconds:.1f} s")
        self.retry_after = max(1, math.ceil(seconds))


class DeadlinePassed(ServiceError):
    """No answer in time; nothing is computed for the request any more."""


class InferenceFailed(ServiceError):
    """The session failed on this very picture."""
