"""A small generator learns from a trained one."""

import re
from pathlib import Path

import pytest
import torch

from tests.training.conftest import tiny_config
from training.checkpoints import load_generators
from training.config import ConfigError
from training.data import load_domains, to_pixels
from training.logs import read_losses
from training.teachers import Teacher
from training.trainer import Trainer


def test_a_run_and_the_bundles_exported_from_it_teach_alike(
    domains: tuple[Path, Path], finished_run: Path, exported: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    x, y = (domain.batch(0) for domain in load_domains(tiny_config(domains)))
    by_run, by_bundle = (
        Teacher(tiny_config(domains, teacher=teacher), torch.device("cpu")).translate(x, y)
        for teacher in (finished_run, exported / "day2dusk")
    )
    for taught, the_same in zip(by_run, by_bundle, strict=True):
        assert taught is not None
        assert the_same is not None
        assert not taught.requires_grad
        assert abs(to_pixels(taught).astype(int) - to_pixels(the_same)).max() <= 2
    assert "rovider" not in capfd.readouterr().err, "ONNX Runtime is asked for CUDA on a CPU"


def test_a_pupil_comes_to_translate_as_its_teacher_does(domains: tuple[Path, Path], finished_run: Path, tmp_path: Path) -> None:
    fields = {"teacher": finished_run, "lambda_teacher": 50.0, "lambda_cycle": 0.0, "n_blocks": 0, "steps": 60, "log_every": 10}
    Trainer(tiny_config(domains, **fields, ngf=8, lr=1e-3, sample_every=60), tmp_path).train()
    first, *_, last = read_losses(tmp_path)
    assert last["teacher_Y"] < 0.85 * first["teacher_Y"]
    assert last["teacher_X"] < 0.85 * first["teacher_X"]
    assert len(load_generators(tmp_path)[1]["G"].state_dict()) < len(load_generators(finished_run)[1]["G"].state_dict())


def test_a_teacher_of_something_else_is_refused_by_name(domains: tuple[Path, Path], finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{domains[0]} is not a teacher")):
        Trainer(tiny_config(domains, teacher=domains[0]), tmp_path)
    with pytest.raises(ConfigError, match="knows day2dusk, dusk2day, but this run learns test2dusk"):
        Trainer(tiny_config((domains[0] / "test", domains[1]), teacher=finished_run), tmp_path)
