"""The cost of work, predicted from how long earlier work took."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

DECAY = 0.9  # weight of all earlier measurements when a new one arrives
FLOOR = 64 * 64  # pixels; a smaller picture takes as long as one of this size


class Rate:
    """Measured seconds per pixel of one kind of work. The latest measurements count most."""

    def __init__(self, pixels: int, seconds: float) -> None:
        self._pixels, self._seconds = float(max(pixels, FLOOR)), seconds
        self._best = self._seconds / self._pixels

    def add(self, pixels: int, seconds: float) -> None:
        self._pixels = DECAY * self._pixels + max(pixels, FLOOR)
        self._seconds = DECAY * self._seconds + seconds
        self._best = min(self._best, self._seconds / self._pixels)

    def relax(self) -> None:
        """Lower the rate after it led to a refusal, so that a rate measured at a bad moment does not refuse requests forever."""
        self._seconds *= DECAY
        self._best *= DECAY

    def seconds(self, pixels: int, best: bool = False) -> float:
        """Predict the time at the machine's current speed, or at its best."""
        return max(pixels, FLOOR) * (self._best if best else self._seconds / self._pixels)


class Cost(NamedTuple):
    """One step of work that is still to be done."""

    by: Literal["codec", "lane"]
    rate: Rate
    pixels: int

    def seconds(self, best: bool) -> float:
        return self.rate.seconds(self.pixels, best)


class Rates(dict[str, Rate]):
    """Rates by kind of codec work, such as `decode jpeg /4`. A kind without measurements has the rate of `decode jpeg`, or of PNG."""

    def __init__(self) -> None:
        super().__init__(header=Rate(FLOOR, 0.001), compare=Rate(10**6, 0.01))

    def __missing__(self, kind: str) -> Rate:
        action, *rest = kind.split()
        return self.get(" ".join([action, *rest[:1]])) or self[f"{action} png"]

    def add(self, kind: str, pixels: int, seconds: float) -> None:
        if kind in self:
            self[kind].add(pixels, seconds)
        else:
            self[kind] = Rate(pixels, seconds)


@dataclass(eq=False)
class Work:
    """The remaining steps of one picture, in order."""

    costs: list[Cost]
