"""The benchmarks run, and cannot be fooled."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from benchmarks import pictures, serving
from benchmarks.bundles import SHIPPED, null_bundle
from benchmarks.load import closed_loop, open_loop
from benchmarks.servers import our_server
from models.bundle import load_bundle
from tests.conftest import ROOT

SECONDS_EACH = 0.1


@contextmanager
def slow_server() -> Iterator[str]:
    """Ten answers a second, one at a time."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(SECONDS_EACH)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    class Patient(HTTPServer):
        request_queue_size = 100

    with Patient(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_one_command_measures_side_by_side_and_writes_a_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--parts", "null,decode", "--output", str(tmp_path)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (tmp_path / "table.md").read_text().strip() == printed.strip()
    written = json.loads((tmp_path / "table.json").read_text())
    assert [row["contender"] for row in written["rows"]] == [
        "this service", "plain FastAPI", "scaled decode", "full decode",
    ]  # fmt: skip
    for row in written["rows"][:2]:
        (measured,) = row["rounds"]
        assert measured["answers"] > 0
        assert measured["errors"] == 0
        assert measured["cpu_ms"] > 0
        assert measured["memory_mb"] > 20
    assert "12-megapixel JPEG" in printed


def test_a_server_that_is_behind_cannot_hide_it() -> None:
    """About twenty requests a second for a server of ten: these arrivals wait up to 676 ms for it, however fast the machine is."""
    with slow_server() as url:
        outcome = open_loop(url, b"picture", rate=20, seconds=1, deadline=0.5)
    assert outcome.answers == 20
    assert outcome.p99_ms > 670
    assert outcome.per_second < 15, "late answers do not count"


def test_clients_wait_for_their_answers_where_there_is_no_wrk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with slow_server() as url:
        outcome = closed_loop(url, b"picture", clients=4, seconds=1)
    assert outcome.errors == 0
    assert 2 < outcome.per_second <= 1 / SECONDS_EACH
    assert outcome.p50_ms > 1000 * SECONDS_EACH


def test_wrong_answers_end_the_run(tmp_path: Path) -> None:
    bundle = null_bundle(tmp_path / "models")
    with our_server(bundle, tmp_path, pictures.squares(serving.SIDE, 1)[0]) as server:
        serving.check([server], bundle.onnx)
        with pytest.raises(SystemExit, match="another picture"):
            serving.check([server], load_bundle(SHIPPED).onnx)
