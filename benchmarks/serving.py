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
from models.bundle import ONNX, Bundle
from pictures.encode import encode
from service.engine.sessions import CPU, open_session
from service.settings import usable_cpus

SIDE = 256
CLIENTS = 16
DEADLINE = 1.0
"""Seconds, in open loops: later answers do not count, and each server is told so that has a setting for it."""
SHARES = (0.5, 0.8, 1.5, 4.0)
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

    def compare(self, what: str, rows: dict[str, Row], figure: str, asked: dict[str, str], ours: str = OURS) -> None:
        """This service's figure in those of others."""
        for other, bar in asked.items():
            if ours in rows and other in rows:
                values = [[getattr(load, figure) for load in rows[name].rounds] for name in (ours, other)]
                self.report.findings.append(Finding(f"{what}, {ours} / {other}", ratios(*values), bar))

    @contextmanager
    def servers(self, bundle: Bundle, deadline: float) -> Iterator[tuple[list[Server], Path]]:
        """This service, the others with the very file that it chose to run, and that file."""
        (picture,) = pictures.squares(SIDE, 1)
        with our_server(bundle.folder.parent, self.logs, picture, deadline_seconds=deadline) as ours:
            with urllib.request.urlopen(urljoin(ours.url, "/directions")) as answer:
                model = bundle.path(json.load(answer)[0]["precision"])
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


def server_cost(bench: Bench, bundle: Bundle) -> None:
    """A graph that costs nothing; once more with a worker for each CPU, since one process is bound by its interpreter's lock."""
    (picture,) = pictures.squares(SIDE, 1)
    several = f"{OURS}, {usable_cpus()} workers"

    def started_anew() -> Iterator[Contenders]:
        """In each round, since one start of a server is several percent faster than the next."""
        for _ in range(bench.rounds):
            with (
                our_server(bundle.folder.parent, bench.logs, picture, several, workers=usable_cpus()) as workers,
                bench.servers(bundle, deadline=30) as (servers, model),
            ):
                workers.suspend()
                check([*servers, workers], model)
                yield closed([servers[0], workers, *servers[1:]], picture, CLIENTS, bench.seconds)

    rows = bench.in_rounds("null", f"{CLIENTS} clients", started_anew())
    asked = {"plain FastAPI": "at least 1.3", "LitServe": "at least 1.7", "BentoML": "", "Ray Serve": ""}
    for ours in (OURS, several):
        bench.compare("null graph: throughput", rows, "per_second", asked, ours)
    bench.compare("null graph: CPU time an answer", rows, "cpu_ms", dict.fromkeys(asked, ""))


def real_work(bench: Bench, bundle: Bundle) -> float:
    """The shipped generator, beside its bare session. What this service can do, in answers a second."""
    (picture,) = pictures.squares(SIDE, 1)
    with bench.servers(bundle, deadline=30) as (servers, model):
        check(servers, model)
        _one_client(bench, servers, model, picture)
        return _many_clients(bench, servers, model, picture)


def _one_client(bench: Bench, servers: list[Server], model: Path, picture: bytes) -> None:
    session = open_session(model, [CPU], usable_cpus())

    def translate() -> None:
        encode(sessions.run(session, pictures.pixels(picture)[None])[0], "jpeg", 90)

    bare = "bare decode, session, encode"
    contenders: Contenders = {**closed(servers, picture, 1, bench.seconds), bare: partial(sessions.repeat, translate, bench.seconds)}
    rows = bench.side_by_side(_lite(model), "1 client", contenders)
    pairs = zip(rows[OURS].rounds, rows[bare].rounds, strict=True)
    more = [served.p50_ms - alone.p50_ms for served, alone in pairs if served.p50_ms and alone.p50_ms]
    bench.report.findings.append(Finding(f"lite, one client: median above {bare}", f"{np.median(more):.1f} ms", "at most 4 ms"))


def _many_clients(bench: Bench, servers: list[Server], model: Path, picture: bytes) -> float:
    """Turns are long, since what a turn's end finds half done is not counted: as much as a batch."""
    pixels, cpus = pictures.pixels(picture), usable_cpus()
    wide, narrow = open_session(model, [CPU], cpus), open_session(model, [CPU], 1)
    batch = sessions.best_batch(wide, pixels, bench.seconds / 10)
    bare, loops = f"bare session, batches of {len(batch)}", f"{cpus} bare loops, a thread each"
    contenders: Contenders = {
        **closed(servers, picture, CLIENTS, 3 * bench.seconds),
        bare: partial(sessions.repeat, partial(sessions.run, wide, batch), bench.seconds, len(batch)),
        loops: partial(sessions.repeat, partial(sessions.run, narrow, pixels[None]), bench.seconds, loops=cpus),
    }
    rows = bench.side_by_side(_lite(model), f"{CLIENTS} clients", contenders)
    bench.compare("lite: throughput", rows, "per_second", {bare: "at least 0.95", **dict.fromkeys([loops, *bench.others], "")})
    bench.compare("lite: CPU time an answer", rows, "cpu_ms", dict.fromkeys([bare, loops, *bench.others], ""))
    return rows[OURS].typical("per_second") or 1.0


def under_load(bench: Bench, bundle: Bundle, capacity: float) -> None:
    """Arrivals that wait for nobody, some of them more than can be served. Rounds are fewer and longer, for queues to grow."""
    bench = replace(bench, rounds=max(1, bench.rounds // 2), seconds=2 * bench.seconds)
    (picture,) = pictures.squares(SIDE, 1)
    with bench.servers(bundle, DEADLINE) as (servers, model):
        for share in SHARES:
            rate = share * capacity
            arrivals = partial(open_loop, picture=picture, rate=rate, seconds=bench.seconds, deadline=DEADLINE)
            load = f"open, {rate:.0f} a second ({share} of capacity)"
            rows = bench.side_by_side(_lite(model), load, {server.name: partial(server.measure, arrivals) for server in servers})
            if share > 1:
                in_time = ratios([each.per_second for each in rows[OURS].rounds], [capacity] * bench.rounds)
                what = f"lite, arrivals at {share} of capacity: answers in time / capacity"
                bench.report.findings.append(Finding(what, in_time, "at least 0.9"))


def _lite(model: Path) -> str:
    """With the precision, which the service chooses anew whenever it starts."""
    return f"lite, {'fp32' if model.name == ONNX else model.stem}"


def closed(servers: list[Server], picture: bytes, clients: int, seconds: int) -> Contenders:
    """Each under closed-loop load."""
    load = partial(closed_loop, picture=picture, clients=clients, seconds=seconds)
    return {server.name: partial(server.measure, load) for server in servers}


def memory(bench: Bench, bundle: Bundle, requests: int) -> None:
    """Pictures of as many sizes as there are requests, four at a time."""
    random, source = Random(0), pictures.mosaic(2000, 2000)
    held = []
    with our_server(bundle.folder.parent, bench.logs, pictures.squares(SIDE, 1)[0]) as server:
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
