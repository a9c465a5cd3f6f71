"""What pictures will cost, from their headers and the rates that were measured, and whether that can be done in time at all."""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter

from pictures.decode import fitted
from service.admission import PUNCTUALITY, Admission
from service.codec_tasks import Header
from service.costs import Cost, Rates, Work
from service.engine.engine import Engine
from service.engine.generator import Generator
from service.errors import TooMuch
from service.parameters import Parameters

SMALLER_SIZES = (2048, 1024, 512, 256, 128, 64)
"""What is tried to tell at what size a request could be done."""


class Estimates:
    """For requests that have `seconds`."""

    def __init__(self, engine: Engine, admission: Admission, seconds: float) -> None:
        self.rates = Rates()
        self._engine = engine
        self._admission = admission
        self._seconds = seconds

    def steps(self, header: Header, parameters: Parameters, generators: Sequence[Generator]) -> list[Cost]:
        """Decoding, a lane for each of the generators, encoding."""
        width, height = fitted(header.width, header.height, parameters.longest_side)
        encoding = self.rates[f"encode {parameters.format_for(header.format)}"]
        return [
            Cost("codec", self.rates[decoding(header, parameters.longest_side)], header.width * header.height),
            *(self.inference(generator, height, width) for generator in generators),
            Cost("codec", encoding, math.prod(output_size(header, parameters))),
        ]

    def inference(self, generator: Generator, height: int, width: int) -> Cost:
        return Cost("lane", generator.rate, self._engine.count_pixels(generator, height, width))

    def check(self, works: Sequence[Work], advice: Callable[[], str]) -> None:
        """Raises TooMuch, with the `advice`, where `works` could not be done even while the machine is at its fastest: what only a
        slow moment forbids may be asked for again."""
        needed = self._admission.seconds(works, attrgetter("best_seconds"))
        if needed <= self._seconds:
            return
        what = "This picture" if len(works) == 1 else f"These {len(works)} pictures"
        told = f"{what} would take about {needed:.0f} s here, and {self._seconds:.0f} s are allowed: {advice()}."
        if self._admission.idle:  # nothing else would measure them anew
            for rate in {cost.rate for work in works for cost in work.costs}:
                rate.relax()
        raise TooMuch(told)

    def advice(self, headers: Sequence[Header], parameters: Parameters, generators: Sequence[Generator]) -> str:
        """How many at this size, and all at what size, could be done in time."""

        def fits(count: int, size: int | None) -> bool:
            asked = parameters.model_copy(update={"size": size or "original"})
            works = [Work(self.steps(header, asked, generators)) for header in headers[:count]]
            return self._admission.seconds(works, attrgetter("best_seconds")) <= PUNCTUALITY * self._seconds

        advice, size = [], parameters.longest_side
        if fewer := next((count for count in range(len(headers) - 1, 0, -1) if fits(count, size)), 0):
            advice.append(f"send {fewer} at a time")
        if smaller := next((side for side in SMALLER_SIZES if side < (size or math.inf) and fits(len(headers), side)), 0):
            advice.append(f"ask for size={smaller}")
        return " or ".join(advice) or "send smaller pictures"


def output_size(header: Header, parameters: Parameters) -> tuple[int, int]:
    """Width and height of the answer."""
    return fitted(header.width, header.height, parameters.longest_side if parameters.output == "size" else None)


def decoding(header: Header, size: int | None) -> str:
    """The kind of work: of a JPEG that is shrunk, a decoder leaves out a part."""
    shrunk = max(header.width, header.height) / (size or math.inf)
    return f"decode {header.format}" + (f" /{min(8, 2 ** int(math.log2(shrunk)))}" if header.format == "jpeg" and shrunk >= 2 else "")
