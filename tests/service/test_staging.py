"""Pictures to a device and back by I/O binding, here with the CPU in the place of a GPU."""

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from service.engine.catalog import Generator
from service.engine.staging import Staging
from tests.service.conftest import noise, through_gpu_lanes


def test_what_comes_back_is_what_the_session_gives_and_stays_so(generator: Generator) -> None:
    staging = Staging(4 * 64 * 64)
    batches = [noise(4, 64, 64), noise(1, 32, 48), noise(2, 48, 32)]
    answers = [generator.run(batch, staging=staging) for batch in batches]
    for batch, answer in zip(batches, answers, strict=True):
        assert (answer == generator.run(batch)).all()


def test_on_a_gpu_each_lane_has_its_own_and_what_does_not_fit_goes_without(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    staged: list[tuple[int, ...]] = []

    class Noting(Staging):
        def run(self, session: object, pictures: list[NDArray[np.uint8]], graphs: None) -> NDArray[np.uint8]:  # type: ignore[override]
            staged.append((id(self), len(pictures), *pictures[0].shape))
            return super().run(session, pictures, graphs)  # type: ignore[arg-type]

    monkeypatch.setattr("service.engine.lanes.Staging", Noting)
    pictures = [*noise(6, 32, 32), *noise(1, 64, 128)]

    answers = through_gpu_lanes(generator, pictures, max_batch_pixels=2 * 64 * 64 - 1, lanes=2)
    for picture, answer in zip(pictures, answers, strict=True):
        assert (answer == generator.run(picture[None])[0]).all()
    assert [shape for _, *shape in staged] == [[1, 32, 32, 3]] * 6
    assert len({lane for lane, *_ in staged}) == 2


def test_where_memory_cannot_be_page_locked_the_log_says_so() -> None:
    with capture_logs() as logs:
        Staging(100)
    assert {line["event"] for line in logs} == {"memory is not page-locked: copies to the GPU are slower"}
