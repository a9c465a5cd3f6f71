"""Write the results as a Markdown page and as JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.load import Load

MISSING = "–"


@dataclass(frozen=True)
class Row:
    """One contender under one load, in several rounds."""

    graph: str
    load: str
    contender: str
    rounds: list[Load]

    def typical(self, figure: str) -> float | None:
        """Return the median of a figure over the rounds that have it."""
        values = [value for each in self.rounds if (value := getattr(each, figure)) is not None]
        return median(values) if values else None

    def total(self, figure: str) -> int:
        return sum(getattr(each, figure) for each in self.rounds)


@dataclass(frozen=True)
class Finding:
    """A figure, and the bar that it should meet, if there is one."""

    what: str
    measured: str
    asked: str = ""


COLUMNS: dict[str, Callable[[Row], str]] = {
    "graph": lambda row: row.graph,
    "load": lambda row: row.load,
    "contender": lambda row: row.contender,
    "answers a second": lambda row: _number(row.typical("per_second")),
    "p50 ms": lambda row: _number(row.typical("p50_ms")),
    "p99 ms": lambda row: _number(row.typical("p99_ms")),
    "refused": lambda row: str(row.total("refused")),
    "errors": lambda row: str(row.total("errors")),
    "CPU ms an answer": lambda row: _number(row.typical("cpu_ms")),
    "memory MB": lambda row: _number(max((each.memory_mb for each in row.rounds if each.memory_mb is not None), default=None)),
}


@dataclass
class Report:
    machine: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [", ".join(f"{name} {value}" for name, value in self.machine.items()), ""]
        if self.rows:
            lines += _table(list(COLUMNS), [[column(row) for column in COLUMNS.values()] for row in self.rows], left=3)
        if self.findings:
            lines += _table(["what", "measured", "asked for"], [[each.what, each.measured, each.asked] for each in self.findings], left=3)
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.md").write_text(self.markdown())
        (folder / "table.json").write_text(json.dumps(asdict(self), indent=2) + "\n")


def ratios(numerators: Sequence[float | None], denominators: Sequence[float | None]) -> str:
    """Return median and extremes of the ratios of single rounds: the machine's speed changes from round to round."""
    each = [a / b for a, b in zip(numerators, denominators, strict=True) if a is not None and b]
    return f"{median(each):.2f} ({min(each):.2f} to {max(each):.2f})" if each else MISSING


def _table(header: list[str], rows: list[list[str]], left: int) -> list[str]:
    """Format a table; the first `left` columns are text, the others numbers."""
    lines = [header, *([["---"] * left + ["---:"] * (len(header) - left)]), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines] + [""]


def _number(value: float | None) -> str:
    """Format with three significant digits."""
    if value is None:
        return MISSING
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
