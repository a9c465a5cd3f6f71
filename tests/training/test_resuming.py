"""A run that was stopped, killed, or spread over processes ends where one that was left alone does."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT, wait_until
from tests.training.conftest import tiny_config, train_command, weights
from training.checkpoints import load_checkpoint
from training.config import ConfigError
from training.logs import read_losses
from training.trainer import Trainer


def steps(run: Path) -> int:
    return (load_checkpoint(run) or {"step": 0})["step"]


def assert_the_same_run(run: Path, other: Path) -> None:
    """Bit for bit: all weights, and every line of the losses."""
    theirs = weights(other)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in weights(run).items())
    assert (run / "losses.csv").read_bytes() == (other / "losses.csv").read_bytes()


def test_stopped_and_resumed_equals_never_stopped(domains: tuple[Path, Path], finished_run: Path, tmp_path: Path) -> None:
    """Stopped between two lines of the log, so that the losses of the line after are half from before."""
    trainer = Trainer(tiny_config(domains), tmp_path)
    step, calls = trainer.train_step, iter([False, False, True])

    def stop_at_the_third(x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        trainer._stop = next(calls)
        return step(x, y)

    trainer.train_step = stop_at_the_third  # type: ignore[method-assign]
    trainer.train()
    assert trainer.step == 3
    Trainer(tiny_config(domains), tmp_path).train()
    assert_the_same_run(tmp_path, finished_run)


def test_killed_at_any_moment_and_resumed_equals_never_stopped(domains: tuple[Path, Path], tmp_path: Path) -> None:
    fields = {"steps": 60, "checkpoint_every": 5, "sample_every": 20, "augment": "color,translation", "batch_size": 2}
    subprocess.run(train_command(domains, tmp_path / "left alone", **fields), cwd=ROOT, check=True, capture_output=True)
    train = train_command(domains, run := tmp_path / "killed", **fields)
    kills = 0
    while kills < 2 or steps(run) < 60:
        process = subprocess.Popen(train, cwd=ROOT, stdout=subprocess.DEVNULL)
        if kills < 2:
            before = steps(run)
            wait_until(lambda: steps(run) > before, 300)  # noqa: B023
            time.sleep(random.uniform(0, 0.3))
            process.kill()
            kills += 1
        process.wait(timeout=300)
    assert_the_same_run(run, tmp_path / "left alone")


def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_resumes(domains: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    for _ in range(2):
        before = steps(run)
        process = subprocess.Popen(train_command(domains, run, steps=100_000), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        wait_until(lambda: steps(run) > before, 300)  # noqa: B023
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0
        assert f"step {before} of 100000" in output
        assert "the same command resumes" in output


def test_a_resumed_run_cannot_change_its_networks(domains: tuple[Path, Path], finished_run: Path) -> None:
    with pytest.raises(ConfigError, match="ngf 4 → 8"):
        Trainer(tiny_config(domains, ngf=8), finished_run)


def torchrun(train: list[str]) -> list[str]:
    assert train[:2] == [sys.executable, "-m"]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "--", *train[2:]]


def test_two_processes_train_as_one_with_the_double_batch(domains: tuple[Path, Path], tmp_path: Path) -> None:
    """Stopped and resumed on the way. In fp32, where only the order of sums differs, which Adam's first steps make more of."""
    fields = {"pool_size": 0, "precision": "fp32", "checkpoint_every": 2, "decay_steps": 0}
    for steps in (4, 6):
        train = torchrun(train_command(domains, tmp_path / "two", **fields, steps=steps))
        subprocess.run(train, cwd=ROOT, check=True)
    Trainer(tiny_config(domains, **fields, batch_size=2), tmp_path / "one").train()
    one, two = read_losses(tmp_path / "one"), read_losses(tmp_path / "two")
    assert one[0] == pytest.approx(two[0], rel=1e-4)
    assert one[2] == pytest.approx(two[2], rel=1e-2)
    with pytest.raises(ConfigError, match="processes 2 → 1"):
        Trainer(tiny_config(domains, **fields), tmp_path / "two")
