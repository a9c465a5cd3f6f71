"""What is around CUDA graphs: here runs are not recorded but run again, since a CPU takes their numbers for nothing."""

from collections.abc import Callable
from dataclasses import replace

import onnxruntime
import pytest
from structlog.testing import capture_logs

from service.engine import graphs
from service.engine.catalog import Catalog, Generator
from service.engine.graphs import Graphs
from service.engine.sessions import CPU, CUDA, count_lanes
from tests.conftest import pair
from tests.service.conftest import noise, through_gpu_lanes


class Recorder:
    """A session whose playback, a run with a number after the first, is what `playback` does."""

    def __init__(self, session: onnxruntime.InferenceSession, playback: Callable[[], None]) -> None:
        self._session, self._playback = session, playback
        self.numbers: list[str] = []

    def io_binding(self) -> onnxruntime.IOBinding:
        return self._session.io_binding()

    def run_with_iobinding(self, binding: onnxruntime.IOBinding, options: onnxruntime.RunOptions) -> None:
        number = options.get_run_config_entry("gpu_graph_id")
        if number in self.numbers:
            self._playback()
        else:
            self._session.run_with_iobinding(binding, options)
        self.numbers.append(number)


def test_a_cpu_has_none() -> None:
    catalog = Catalog(pair(), (CPU,), threads=1, cuda_graphs=True)
    assert [generator.opened.graphs for generator in catalog.open_new()] == [None, None]


def test_each_shape_is_recorded_once_and_played_back_with_other_pictures(generator: Generator) -> None:
    recorded = Graphs(generator.opened.session, "cpu")
    batches = [noise(4, 32, 32), noise(1, 32, 48), noise(1, 48, 32)]
    for batch in batches:
        assert recorded.play(batch) is None
        recorded.record(batch, generator.run(batch))
    others = [noise(*batch.shape[:3], seed=seed) for seed in (1, 2) for batch in batches]
    answers = [recorded.play(other) for other in others]
    for other, answer in zip(others, answers, strict=True):
        assert (answer == generator.run(other)).all()


def test_a_playback_that_does_nothing_is_found_out_and_not_tried_again(generator: Generator) -> None:
    session = Recorder(generator.opened.session, lambda: None)
    recorded, batch = Graphs(session, "cpu"), noise(2, 32, 32)  # type: ignore[arg-type]
    with capture_logs() as logs:
        for _ in range(2):
            recorded.record(batch, generator.run(batch))
            assert recorded.play(batch) is None
    (line,) = logs
    assert line["event"] == "no CUDA graph"
    assert "off in the mean" in line["reason"]
    assert session.numbers == ["1", "1"]


def test_a_playback_that_fails_costs_no_request(generator: Generator) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error 900")

    recorded, batch = Graphs(Recorder(generator.opened.session, fail), "cpu"), noise(2, 32, 32)  # type: ignore[arg-type]
    with capture_logs() as logs:
        recorded.record(batch, generator.run(batch))
    assert [line["reason"] for line in logs] == ["CUDA error 900"]
    assert recorded.play(batch) is None


def test_there_are_no_more_of_them_than_the_device_has_room_for(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST", 2)
    recorded = Graphs(generator.opened.session, "cpu")
    batches = [noise(count, 32, 32) for count in (1, 2, 3)]
    for batch in batches:
        recorded.record(batch, generator.run(batch))
    assert [recorded.play(batch) is not None for batch in batches] == [True, True, False]


def test_through_a_lane_pictures_are_those_of_the_session(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Graphs(generator.opened.session, "cpu")
    played: list[tuple[int, ...]] = []
    play = recorded.play
    monkeypatch.setattr(recorded, "play", lambda pictures: played.append(pictures.shape) or play(pictures))
    recording = replace(generator, opened=replace(generator.opened, graphs=recorded))
    pictures = [*noise(3, 32, 32), *noise(3, 32, 64)] * 2

    lanes = count_lanes([CUDA, CPU], 2, records=True)
    answers = through_gpu_lanes(recording, pictures, max_batch_pixels=3 * 64 * 64, lanes=lanes)
    for picture, answer in zip(pictures, answers, strict=True):
        assert (answer == generator.run(picture[None])[0]).all()
    assert set(played) == {(3, 32, 32, 3), (3, 32, 64, 3)}
    assert len(played) == 4
