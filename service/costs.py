"""What work takes, from what it took before."""

from dataclasses import dataclass

DECAY = 0.9
"""How much of the measurements before still counts after another."""
FLOOR = 64 * 64
"""In pixels: a smaller picture takes as long as one of this size."""


class Rate:
    """Measured seconds a pixel of one kind of work, the latest measurements counting most."""

    def __init__(self, pixels: int, seconds: float) -> None:
        self._pixels, self._seconds = float(max(pixels, FLOOR)), seconds

    def add(self, pixels: int, seconds: float) -> None:
        self._pixels = DECAY * self._pixels + max(pixels, FLOOR)
        self._seconds = DECAY * self._seconds + seconds

    def relax(self) -> None:
        """After what would take too long was refused: a rate that was measured in a bad moment must not refuse for ever."""
        self._seconds *= DECAY

    def seconds(self, pixels: int) -> float:
        return max(pixels, FLOOR) * self._seconds / self._pixels


class Rates:
    """Of each kind of a codec's work: `header`, `compare`, `decode jpeg`, `encode png`, and narrower ones, like `decode jpeg /4`,
    which begin with what the wider one has measured."""

    def __init__(self) -> None:
        self._rates = {"header": Rate(FLOOR, 0.001), "compare": Rate(10**6, 0.01)}

    def add(self, kind: str, pixels: int, seconds: float) -> None:
        if kind in self._rates:
            self._rates[kind].add(pixels, seconds)
        else:
            self._rates[kind] = Rate(pixels, seconds)

    def relax(self) -> None:
        for rate in self._rates.values():
            rate.relax()

    def seconds(self, kind: str, pixels: int) -> float:
        """Of a kind that was never measured, nor a wider one: as of PNG."""
        action, *rest = kind.split()
        known = (self._rates.get(key) for key in (kind, " ".join([action, *rest[:1]]), f"{action} png"))
        return next(rate for rate in known if rate).seconds(pixels)


@dataclass(eq=False)
class Work:
    """What one picture will still take, in seconds of one codec and of one lane. It gets less as the picture gets on."""

    decoding: float
    inference: float
    encoding: float
