"""Compare servers with the same graph, pictures and load, taking turns."""

import json
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from pathlib import Path
from random import Random
from urllib.parse import urljoin

import numpy as np

from benchmarks import pictures, sessions
from benchmarks.load import Load, closed_loop, open_loop, post_at_once
from benchmarks.report import Finding, Report, Row, ratios
from benchmarks.servers import OURS, Server, other_servers, our_server
from models.bundle import Bundle
from pictures.encode import encode
from service.engine.sessions import CPU, open_session
from service.machine import usable_cpus

SIDE = 256
"""Side of small pictures, in pixels."""
SIZE = 512
"""Longest side at which a photograph is translated, in pixels."""
CLIENTS = 16
DEADLINE = 4.0
"""The deadline in open loops, in seconds. Later answers do not count; servers with such a setting are configured for it."""
SHARES = (1.5, 4.0)
"""Arrival rates in open loops, as multiples of this service's capacity."""

Contenders = Mapping[str, Callable[[], Load]]


@dataclass(frozen=True)
class Bench:
    """How to measure, and where results go."""

    report: Report
    others: list[str]
    python: Path
    """The interpreter with the contenders' packages."""
    rounds: int
    seconds: int
    """Duration of each contender's turn in each round."""
    logs: Path
    """Folder for the servers' logs."""

    def side_by_side(self, graph: str, load: str, contenders: Contenders) -> dict[str, Row]:
        """Measure in rounds in which each contender takes its turn: ABC, ABC, and so on."""
        return self.in_rounds(graph, load, repeat(contenders, self.rounds))

    def in_rounds(self, graph: str, load: str, rounds: Iterable[Contenders]) -> dict[str, Row]:
        loads = [{name: contender() for name, contender in contenders.items()} for contenders in rounds]
        rows = {name: Row(graph, load, name, [each[name] for each in loads]) for name in loads[0]}
        self.report.rows += rows.values()
        return rows

    def compare(self, title: str, rows: dict[str, Row], figure: str, bars: dict[str, str]) -> None:
        """Report this service's figure relative to those of others, with the bar for each."""
        for other, bar in bars.items():
            values = [[getattr(load, figure) for load in rows[name].rounds] for name in (OURS, other)]
            self.report.findings.append(Finding(f"{title}, {OURS} / {other}", ratios(*values), bar))

    @contextmanager
    def servers(self, bundle: Bundle, deadline: float) -> Iterator[tuple[list[Server], Path]]:
        """Run this service, and the others with the same ONNX file. Yields all servers and the file."""
        (picture,) = pictures.squares(SIDE, 1)
        with our_server(bundle, self.logs, picture, deadline_seconds=deadline) as ours:
            with urllib.request.urlopen(urljoin(ours.url, "/directions")) as answer:
                precisions = {each["direction"]: each["precision"] for each in json.load(answer)}
            model = bundle.path(precisions[bundle.direction])
            assert model is not None
            ours.suspend()
            with other_servers(self.others, self.python, model.resolve(), self.logs, picture, deadline) as others:
                yield [ours, *others], model


def check(servers: list[Server], model: Path) -> None:
    """Send sixteen different pictures at once, and exit if one does not come back as its own translation."""
    session = open_session(model, [CPU], usable_cpus())
    squares = pictures.squares(SIDE, CLIENTS)
    expected = [encode(sessions.run(session, pictures.pixels(picture)[None])[0], "jpeg", 90) for picture in squares]
    for server in servers:
        with server.resumed():
            outcomes = post_at_once(server.url, squares)
        for outcome, translation in zip(outcomes, expected, strict=True):
            if outcome.status != 200:
                raise SystemExit(f"error: {server.name} answers {outcome.status}: {outcome.content[:200]!r}")
            difference = np.abs(pictures.pixels(outcome.content).astype(np.int16) - pictures.pixels(translation)).mean()
            if difference > 1:
                raise SystemExit(f"error: {server.name} answers another picture, {difference:.1f}/255 off in the mean")


def photograph(bench: Bench, name: str, bundle: Bundle) -> None:
    """Measure what users send: a phone's JPEG, translated at 512 pixels.

    The limit to compare with is a loop without HTTP in as many processes as there are CPUs.
    """
    picture, cpus = pictures.phone_photograph(), usable_cpus()
    with bench.servers(bundle, deadline=30) as (servers, model):
        check(servers, model)
        bare = "bare loop of decode, session, encode"
        loop = partial(sessions.whole_loops, model, picture, SIZE, bench.seconds)
        contenders: Contenders = {**closed_loops(servers, picture, 1, bench.seconds), bare: partial(loop, processes=1, threads=cpus)}
        rows = bench.side_by_side(name, "photograph, 1 client", contenders)
        pairs = zip(rows[OURS].rounds, rows[bare].rounds, strict=True)
        overheads = [served.p50_ms - alone.p50_ms for served, alone in pairs if served.p50_ms and alone.p50_ms]
        title = f"{name}, photograph, one client: median above the bare loop's"
        bench.report.findings.append(Finding(title, f"{np.median(overheads):.1f} ms", "at most 4 ms"))

        limit = f"{cpus} bare loops"
        contenders = {**closed_loops(servers, picture, CLIENTS, 2 * bench.seconds), limit: partial(loop, processes=cpus, threads=1)}
        rows = bench.side_by_side(name, f"photograph, {CLIENTS} clients", contenders)
        bars = {limit: "at least 0.9", **dict.fromkeys(bench.others, "at least 1.0")}
        bench.compare(f"{name}, photograph: throughput", rows, "per_second", bars)
    under_load(bench, name, bundle, picture, rows[OURS].typical("per_second") or 1.0)


def under_load(bench: Bench, name: str, bundle: Bundle, picture: bytes, capacity: float) -> None:
    """Measure open loops with more requests than can be served. Rounds are fewer and longer, so that queues can grow."""
    bench = replace(bench, rounds=max(1, bench.rounds // 2), seconds=2 * bench.seconds)
    with bench.servers(bundle, DEADLINE) as (servers, _):
        for share in SHARES:
            rate = share * capacity
            arrivals = partial(open_loop, picture=picture, rate=rate, seconds=bench.seconds, deadline=DEADLINE)
            load = f"photograph, open, {rate:.0f} a second ({share} of capacity)"
            rows = bench.side_by_side(name, load, {server.name: partial(server.measure, arrivals) for server in servers})
            in_time = ratios([each.per_second for each in rows[OURS].rounds], [capacity] * bench.rounds)
            title = f"{name}, photographs arrive at {share} of capacity: answers in time / capacity"
            bench.report.findings.append(Finding(title, in_time, "at least 0.9"))


def server_cost(bench: Bench, bundle: Bundle) -> None:
    """Measure the cost of serving itself, with an empty generator and pictures of 12 kB."""
    (picture,) = pictures.squares(SIDE, 1)

    def restart_servers() -> Iterator[Contenders]:
        """Restart the servers in each round, because one start can be several percent faster than another."""
        for _ in range(bench.rounds):
            with bench.servers(bundle, deadline=30) as (servers, model):
                check(servers, model)
                yield closed_loops(servers, picture, CLIENTS, bench.seconds)

    rows = bench.in_rounds("null", f"12 kB, {CLIENTS} clients", restart_servers())
    bench.compare("null, 12 kB: throughput", rows, "per_second", {"plain FastAPI": "at least 1.0"} | dict.fromkeys(bench.others[1:], ""))


def closed_loops(servers: list[Server], picture: bytes, clients: int, seconds: int) -> Contenders:
    """Return the contenders under a closed loop."""
    load = partial(closed_loop, picture=picture, clients=clients, seconds=seconds)
    return {server.name: partial(server.measure, load) for server in servers}


def memory(bench: Bench, bundle: Bundle, requests: int) -> None:
    """Measure how memory grows with pictures of many sizes, four at a time."""
    random, source = Random(0), pictures.mosaic(2000, 2000)
    memory_mb_at = []
    with our_server(bundle, bench.logs, pictures.squares(SIDE, 1)[0]) as server:
        for number in range(4, requests + 1, 4):
            batch = [pictures.jpeg(source.crop((0, 0, random.randint(64, 800), random.randint(64, 800)))) for _ in range(4)]
            if any(outcome.status != 200 for outcome in post_at_once(f"{server.url}&size=384", batch)):
                raise SystemExit("error: this service failed on pictures of mixed sizes; see its log")
            if number in (requests // 10, requests):
                memory_mb_at.append(server.memory_mb())
    growth = f"{memory_mb_at[0]:.0f} to {memory_mb_at[1]:.0f} MB: {100 * (memory_mb_at[1] / memory_mb_at[0] - 1):+.1f} %"
    bench.report.findings.append(
        Finding(f"memory after {requests // 10} and after {requests:,} pictures of mixed sizes", growth, "within 10 %")
    )
