"""Estimate what pictures cost, from their headers and the measured rates, and refuse what can never be done in time."""

import math
from collections.abc import Callable, Sequence

from pictures.decode import fitted
from service.admission import PUNCTUALITY, Admission
from service.codec_tasks import Header
from service.costs import Cost, Rates, Work
from service.engine.engine import Engine
from service.engine.generator import Generator
from service.errors import TooMuch
from service.parameters import Parameters

SMALLER_SIZES = (2048, 1024, 512, 256, 128, 64)  # candidates when advising a smaller size


class Estimates:
    """Estimates for requests that have `seconds` until their deadline."""

    def __init__(self, engine: Engine, admission: Admission, seconds: float) -> None:
        self.rates = Rates()
        self._engine = engine
        self._admission = admission
        self._seconds = seconds

    def steps(self, header: Header, parameters: Parameters, generators: Sequence[Generator]) -> list[Cost]:
        """Return the steps of one picture: decoding, each of the generators, encoding."""
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
        """Raise TooMuch, with the `advice`, if `works` take too long even at the machine's best speed; else, a later try may succeed."""
        seconds = self._admission.seconds(works, best=True)
        if seconds <= self._seconds:
            return
        pictures = "This picture" if len(works) == 1 else f"These {len(works)} pictures"
        detail = f"{pictures} would take about {seconds:.0f} s, but the limit is {self._seconds:.0f} s: {advice()}."
        if self._admission.idle:  # no other work would update the rates
            for rate in {cost.rate for work in works for cost in work.costs}:
                rate.relax()
        raise TooMuch(detail)

    def advice(self, headers: Sequence[Header], parameters: Parameters, generators: Sequence[Generator]) -> str:
        """Say how many pictures at this size, and what size for all pictures, could be done in time."""

        def fits(count: int, size: int | None) -> bool:
            resized = parameters.model_copy(update={"size": size or "original"})
            works = [Work(self.steps(header, resized, generators)) for header in headers[:count]]
            return self._admission.seconds(works, best=True) <= PUNCTUALITY * self._seconds

        advice, size = [], parameters.longest_side
        if count := next((count for count in range(len(headers) - 1, 0, -1) if fits(count, size)), 0):
            advice.append(f"send {count} at a time")
        if smaller := next((side for side in SMALLER_SIZES if side < (size or math.inf) and fits(len(headers), side)), 0):
            advice.append(f"ask for size={smaller}")
        return " or ".join(advice) or "send smaller pictures"


def output_size(header: Header, parameters: Parameters) -> tuple[int, int]:
    """Return width and height of the answer."""
    return fitted(header.width, header.height, parameters.longest_side if parameters.output == "size" else None)


def decoding(header: Header, size: int | None) -> str:
    """Return the kind of work, such as `decode jpeg /4`: decoding a JPEG at a smaller scale is faster."""
    shrink = max(header.width, header.height) / (size or math.inf)
    return f"decode {header.format}" + (f" /{min(8, 2 ** int(math.log2(shrink)))}" if header.format == "jpeg" and shrink >= 2 else "")
