"""What work takes, from what it took before."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

DECAY = 0.9
"""How much of the measurements before still counts after another."""
FLOOR = 64 * 64
"""In pixels: a smaller picture takes as long as one of this size."""


class Rate:
    """Measured seconds a pixel of one kind of work, the latest measurements counting most."""

    def __init__(self, pixels: int, seconds: float) -> None:
        self._pixels, self._seconds = float(max(pixels, FLOOR)), seconds
        self._best = self._seconds / self._pixels

    def add(self, pixels: int, seconds: float) -> None:
        self._pixels = DECAY * self._pixels + max(pixels, FLOOR)
        self._seconds = DECAY * self._seconds + seconds
        self._best = min(self._best, self._seconds / self._pixels)

    def relax(self) -> None:
        """After what would take too long was refused: a rate that was only measured in a bad moment must not refuse for ever."""
        self._seconds *= DECAY
        self._best *= DECAY

    def seconds(self, pixels: int) -> float:
        """By the machine as it is now."""
        return max(pixels, FLOOR) * self._seconds / self._pixels

    def best_seconds(self, pixels: int) -> float:
        """By the machine at its fastest."""
        return max(pixels, FLOOR) * self._best


class Cost(NamedTuple):
    """A step of work that is still to be done."""

    by: Literal["codec", "lane"]
    rate: Rate
    pixels: int

    @property
    def seconds(self) -> float:
        return self.rate.seconds(self.pixels)

    @property
    def best_seconds(self) -> float:
        return self.rate.best_seconds(self.pixels)


class Rates(dict[str, Rate]):
    """Of each kind of a codec's work: `header`, `compare`, `decode jpeg`, `encode png`, and narrower ones, like `decode jpeg /4`. One
    that was never measured goes by the wider one's or, where there is none, by PNG's."""

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
    """What one picture will still take, step by step."""

    costs: list[Cost]
