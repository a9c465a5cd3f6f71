"""`python -m benchmarks`: compare this service with its alternatives, on this machine, in one run."""

import sys
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import bundles, gpu, processor, serving
from benchmarks.environment import contenders_python, machine
from benchmarks.report import Finding, Report
from benchmarks.servers import OTHERS
from models.bundle import Bundle


class Parts:
    """The parts of a run. Each public method is a part of the same name; a complete run has all of them, in this order."""

    def __init__(self, bench: serving.Bench, models: Path, quick: bool) -> None:
        self._bench, self._models, self._quick = bench, models, quick

    def photo(self) -> None:
        for name, bundle in {"lite": self._lite, "null": self._null}.items():
            serving.photograph(self._bench, name, bundle)

    def null(self) -> None:
        serving.server_cost(self._bench, self._null)

    def decode(self) -> None:
        processor.decoding(self._bench)

    def memory(self) -> None:
        serving.memory(self._bench, self._lite, requests=40 if self._quick else 1000)

    def int8(self) -> None:
        processor.int8(self._bench, "lite", self._lite, "no minimum", photographs=True)
        if not self._quick:
            processor.int8(self._bench, "standard (random weights)", self._standard, "at least 1.9", photographs=False)

    def gpu(self) -> None:
        if problem := gpu.find_problem():
            self._bench.report.findings.append(Finding("GPU", f"nothing was measured: {problem}"))
        else:
            gpu.measure(self._bench, {"lite": self._lite, "standard": self._standard})

    @cached_property
    def _null(self) -> Bundle:
        return bundles.null_bundle(self._models / "null")

    @cached_property
    def _lite(self) -> Bundle:
        return bundles.lite_bundle(self._models / "lite")

    @cached_property
    def _standard(self) -> Bundle:
        return bundles.standard_bundle(self._models / "standard")


PARTS = [name for name in vars(Parts) if not name.startswith("_")]


def main(
    parts: Annotated[str, typer.Option(help="Parts to run, comma-separated.")] = ",".join(PARTS),
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds. Every contender runs once in each.")] = 5,
    seconds: Annotated[int, typer.Option(min=1, help="Duration of each contender's turn in a round.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Check that it works: one round of one second, with plain FastAPI only.")] = False,
    output: Annotated[Path, typer.Option(help="Folder for table.md, table.json and the servers' logs.")] = Path("runs/benchmarks"),
) -> None:
    """Compare throughput, latency, CPU time and memory. A complete run takes half an hour."""
    if unknown := set(parts.split(",")) - {*PARTS}:
        raise typer.BadParameter(f"unknown: {', '.join(unknown)}. Choose from {', '.join(PARTS)}")
    report, output, console = Report(machine()), output.resolve(), Console(stderr=True)
    if quick:  # plain FastAPI needs no further packages
        bench = serving.Bench(report, list(OTHERS)[:1], Path(sys.executable), 1, 1, output / "logs")
    else:
        bench = serving.Bench(report, list(OTHERS), contenders_python(output / "env"), rounds, seconds, output / "logs")
    with tempfile.TemporaryDirectory() as folder:
        chosen = Parts(bench, Path(folder), quick)
        for part in parts.split(","):
            with console.status(f"measuring: {part}"):
                getattr(chosen, part)()
            report.write(output)
    print(report.markdown())


if __name__ == "__main__":
    typer.run(main)
