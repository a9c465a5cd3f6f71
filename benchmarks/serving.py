"""Servers side by side: the same graph, the same pictures, the same load, in turns."""

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
"""Of small pictures, in pixels."""
SIZE = 512
"""Longest side that a photograph is translated at."""
CLIENTS = 16
DEADLINE = 4.0
"""Seconds, in open loops: later answers do not count, and each server is told so that has a setting for it."""
SHARES = (1.5, 4.0)
"""Of what this service can do, in open loops."""

Contenders = Mapping[str, Callable[[], Load]]


@dataclass(frozen=True)
class Bench:
    """How to measure, and where the figures go."""

    report: Report
    others: list[str]
    python: Path
    """With the others' packages."""
    rounds: int
    seconds: int
    """Of each contender in each round."""
    logs: Path
    """Of the servers."""

    def side_by_side(self, graph: str, load: str, contenders: Contenders) -> dict[str, Row]:
        """Rounds in which each takes its turn: ABC, ABC, and so on."""
        return self.in_rounds(graph, load, repeat(contenders, self.rounds))

    def in_rounds(self, graph: str, load: str, rounds: Iterable[Contenders]) -> dict[str, Row]:
        loads = [{name: contender() for name, contender in contenders.items()} for contenders in rounds]
        rows = {name: Row(graph, load, name, [each[name] for each in loads]) for name in loads[0]}
        self.report.rows += rows.values()
        return rows

    def compare(self, what: str, rows: dict[str, Row], figure: str, asked: dict[str, str]) -> None:
        """This service's figure in those of others."""
        for other, bar in asked.items():
            values = [[getattr(load, figure) for load in rows[name].rounds] for name in (OURS, other)]
            self.report.findings.append(Finding(f"{what}, {OURS} / {other}", ratios(*values), bar))

    @contextmanager
    def servers(self, bundle: Bundle, deadline: float) -> Iterator[tuple[list[Server], Path]]:
        """This service, the others with the very file that it chose to run, and that file."""
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
    """Sixteen different pictures at once: each must come back as its own translation. Ends the run where one does not."""
    session = open_session(model, [CPU], usable_cpus())
    sent = pictures.squares(SIDE, CLIENTS)
    expected = [encode(sessions.run(session, pictures.pixels(picture)[None])[0], "jpeg", 90) for picture in sent]
    for server in servers:
        with server.awake():
            outcomes = post_at_once(server.url, sent)
        for outcome, right in zip(outcomes, expected, strict=True):
            if outcome.status != 200:
                raise SystemExit(f"error: {server.name} answers {outcome.status}: {outcome.content[:200]!r}")
            difference = np.abs(pictures.pixels(outcome.content).astype(np.int16) - pictures.pixels(right)).mean()
            if difference > 1:
                raise SystemExit(f"error: {server.name} answers another picture, {difference:.1f}/255 off in the mean")


def photograph(bench: Bench, name: str, bundle: Bundle) -> None:
    """What users send: a telephone's JPEG, whose translation has 512 pixels on its longest side. Beside the others, and beside the
    limit: loops with no HTTP, in as many processes as there are CPUs."""
    picture, cpus = pictures.phone_photograph(), usable_cpus()
    with bench.servers(bundle, deadline=30) as (servers, model):
        check(servers, model)
        bare = "bare loop of decode, session, encode"
        loop = partial(sessions.whole_loops, model, picture, SIZE, bench.seconds)
        contenders: Contenders = {**closed(servers, picture, 1, bench.seconds), bare: partial(loop, processes=1, threads=cpus)}
        rows = bench.side_by_side(name, "photograph, 1 client", contenders)
        pairs = zip(rows[OURS].rounds, rows[bare].rounds, strict=True)
        more = [served.p50_ms - alone.p50_ms for served, alone in pairs if served.p50_ms and alone.p50_ms]
        what = f"{name}, photograph, one client: median above the bare loop's"
        bench.report.findings.append(Finding(what, f"{np.median(more):.1f} ms", "at most 4 ms"))

        limit = f"{cpus} bare loops"
        contenders = {**closed(servers, picture, CLIENTS, 2 * bench.seconds), limit: partial(loop, processes=cpus, threads=1)}
        rows = bench.side_by_side(name, f"photograph, {CLIENTS} clients", contenders)
        asked = {limit: "at least 0.9", **dict.fromkeys(bench.others, "at least 1.0")}
        bench.compare(f"{name}, photograph: throughput", rows, "per_second", asked)
    under_load(bench, name, bundle, picture, rows[OURS].typical("per_second") or 1.0)


def under_load(bench: Bench, name: str, bundle: Bundle, picture: bytes, capacity: float) -> None:
    """Arrivals that wait for nobody, more than can be served. Rounds are fewer and longer, for queues to grow."""
    bench = replace(bench, rounds=max(1, bench.rounds // 2), seconds=2 * bench.seconds)
    with bench.servers(bundle, DEADLINE) as (servers, _):
        for share in SHARES:
            rate = share * capacity
            arrivals = partial(open_loop, picture=picture, rate=rate, seconds=bench.seconds, deadline=DEADLINE)
            load = f"photograph, open, {rate:.0f} a second ({share} of capacity)"
            rows = bench.side_by_side(name, load, {server.name: partial(server.measure, arrivals) for server in servers})
            in_time = ratios([each.per_second for each in rows[OURS].rounds], [capacity] * bench.rounds)
            what = f"{name}, photographs arrive at {share} of capacity: answers in time / capacity"
            bench.report.findings.append(Finding(what, in_time, "at least 0.9"))


def server_cost(bench: Bench, bundle: Bundle) -> None:
    """A graph that costs nothing, and a picture of 12 kB: what is left is what serving costs."""
    (picture,) = pictures.squares(SIDE, 1)

    def started_anew() -> Iterator[Contenders]:
        """In each round, since one start of a server is several percent faster than the next."""
        for _ in range(bench.rounds):
            with bench.servers(bundle, deadline=30) as (servers, model):
                check(servers, model)
                yield closed(servers, picture, CLIENTS, bench.seconds)

    rows = bench.in_rounds("null", f"12 kB, {CLIENTS} clients", started_anew())
    bench.compare("null, 12 kB: throughput", rows, "per_second", {"plain FastAPI": "at least 1.0"} | dict.fromkeys(bench.others[1:], ""))


def closed(servers: list[Server], picture: bytes, clients: int, seconds: int) -> Contenders:
    """Each under closed-loop load."""
    load = partial(closed_loop, picture=picture, clients=clients, seconds=seconds)
    return {server.name: partial(server.measure, load) for server in servers}


def memory(bench: Bench, bundle: Bundle, requests: int) -> None:
    """Pictures of as many sizes as there are requests, four at a time."""
    random, source = Random(0), pictures.mosaic(2000, 2000)
    held = []
    with our_server(bundle, bench.logs, pictures.squares(SIDE, 1)[0]) as server:
        for number in range(4, requests + 1, 4):
            mixed = [pictures.jpeg(source.crop((0, 0, random.randint(64, 800), random.randint(64, 800)))) for _ in range(4)]
            if any(outcome.status != 200 for outcome in post_at_once(f"{server.url}&size=384", mixed)):
                raise SystemExit("error: this service failed on pictures of mixed sizes; its log tells why")
            if number in (requests // 10, requests):
                held.append(server.memory_mb())
    growth = f"{held[0]:.0f} to {held[1]:.0f} MB: {100 * (held[1] / held[0] - 1):+.1f} %"
    bench.report.findings.append(
        Finding(f"memory after {requests // 10} and after {requests:,} pictures of mixed sizes", growth, "within 10 %")
    )
