"""A run that was stopped, killed, or spread over processes ends where one that was left alone does."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import ROOT, wait_until
from tests.training.conftest import earlier_version, tiny_config, train_command, weights
from training import trainer
from training.checkpoints import FIXED, FREE, UNUSED, load_checkpoint
from training.config import ConfigError, TrainingConfig
from training.data import Domain, load_domains
from training.files import locked
from training.logs import mean_losses, read_losses
from training.trainer import Trainer


def steps(run: Path) -> int:
    return (load_checkpoint(run) or {"step": 0})["step"]


def assert_the_same_run(run: Path, other: Path) -> None:
    """Bit for bit: all weights, and every line of the losses."""
    theirs = weights(other)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in weights(run).items())
    assert (run / "losses.csv").read_bytes() == (other / "losses.csv").read_bytes()


@pytest.mark.slow
def test_stopped_and_resumed_equals_never_stopped(domains: tuple[Path, Path], finished_run: Path, tmp_path: Path) -> None:
    """Stopped between two lines of the log, so that the losses of the line after are half from before."""
    stopped = Trainer(tiny_config(domains), tmp_path)
    train_step, calls = stopped.learner.train_step, iter([False, False, True])

    def stop_at_the_third(*arguments: Any, **options: Any) -> dict[str, torch.Tensor]:
        stopped._stop = next(calls)
        return train_step(*arguments, **options)

    stopped.learner.train_step = stop_at_the_third  # type: ignore[method-assign]
    stopped.train()
    assert stopped.step == 3
    Trainer(tiny_config(domains), tmp_path).train()
    assert_the_same_run(tmp_path, finished_run)


def test_killed_at_any_moment_and_resumed_equals_never_stopped(domains: tuple[Path, Path], tmp_path: Path) -> None:
    fields = {"steps": 40, "checkpoint_every": 5, "sample_every": 20, "augment": "color,translation", "batch_size": 2}
    Trainer(tiny_config(domains, **fields), tmp_path / "left alone").train()
    train = train_command(domains, run := tmp_path / "killed", **fields)
    kills = 0
    while kills < 2 or steps(run) < 40:
        process = subprocess.Popen(train, cwd=ROOT, stdout=subprocess.DEVNULL)
        if kills < 2:
            before = steps(run)
            wait_until(lambda: steps(run) > before, 300)  # noqa: B023
            time.sleep(random.uniform(0, 0.3))
            process.kill()
            kills += 1
        process.wait(timeout=300)
    assert_the_same_run(run, tmp_path / "left alone")


def test_a_run_resumes_and_ctrl_c_leaves_a_checkpoint(domains: tuple[Path, Path], finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    process = subprocess.Popen(train_command(domains, run, steps=100_000), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: steps(run) > 6, 300)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert "step 6 of 100000" in output
    assert f"step {steps(run)} of 100000: stopped; the same command resumes" in output


def test_every_field_is_fixed_or_free_or_has_to_be_asked_for() -> None:
    """A new field wants a decision: what happens where it changes in a run that is resumed?"""
    asked = {"batch_size", "accumulate", "objective", "seed"}
    assert {*FIXED, *FREE, *UNUSED, *asked} - {"has_features"} == TrainingConfig.model_fields.keys()


def test_settings_that_may_change_take_effect_in_a_resumed_run(
    domains: tuple[Path, Path], finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other losses, and larger crops than those in the pools."""
    run = shutil.copytree(finished_run, tmp_path / "run")
    fields = {"steps": 10, "crop_size": 48, "load_size": 48, "beta1": 0.7, "lambda_identity": 0.0, "lambda_color": 1.0}
    resumed = Trainer(tiny_config(domains, **fields), run)
    resumed.train()
    assert "crop_size 32 → 48" in capsys.readouterr().out
    assert {group["betas"][0] for group in resumed.learner.generator_optimizer.param_groups} == {0.7}
    before, after = read_losses(run)[0], read_losses(run)[-1]
    assert (after["step"], "identity_X" in before, "identity_X" in after) == (10, True, False)
    new = (after.keys() - before.keys()).pop()
    text = (run / "losses.csv").read_text().splitlines()
    assert {len(line.split(",")) for line in text} == {len(text[0].split(","))}
    assert text[1].split(",")[text[0].split(",").index(new)] == ""
    assert mean_losses(read_losses(run))[new] == pytest.approx(np.mean([line[new] for line in read_losses(run) if new in line]))


@pytest.mark.parametrize(
    ("fields", "told", "helps"),
    [
        ({"ngf": 8}, "ngf 4 → 8", False),
        ({"spectral_norm": True}, "spectral_norm False → True", False),
        ({"objective": "hinge"}, "objective lsgan → hinge", True),
        ({"batch_size": 2, "seed": 3}, "batch_size 1 → 2; seed 0 → 3", True),
        ({"target_name": "night"}, "target_name dusk → night", True),
    ],
)
def test_a_change_that_would_spoil_a_run_is_refused_by_name(
    domains: tuple[Path, Path], finished_run: Path, fields: dict[str, Any], told: str, helps: bool
) -> None:
    with pytest.raises(ConfigError, match=told):
        Trainer(tiny_config(domains, **fields), finished_run)
    if helps:
        assert told in "; ".join(Trainer(tiny_config(domains, **fields), finished_run, force=True).changes)
    else:
        with pytest.raises(ConfigError, match="name another --run"):
            Trainer(tiny_config(domains, **fields), finished_run, force=True)


def test_pictures_may_move_but_others_of_their_names_are_refused(domains: tuple[Path, Path], finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    moved = tuple(shutil.copytree(domain, tmp_path / "elsewhere" / domain.name) for domain in domains)
    Trainer(tiny_config(moved, steps=7), run).train()
    next((moved[0] / "train").glob("*.png")).unlink()
    with pytest.raises(ConfigError, match=r"the 8 pictures of day → 7 others.*--force"):
        Trainer(tiny_config(moved, steps=8), run).train()
    Trainer(tiny_config(moved, steps=8), run, force=True).train()
    assert steps(run) == 8


def test_a_run_goes_on_alike_in_another_memory_format(domains: tuple[Path, Path], finished_run: Path) -> None:
    """By a step on the same gradients: Adam's is wrong where its moments are laid out otherwise than the weights."""
    after = []
    for last in (False, True):
        learner = Trainer(tiny_config(domains, channels_last=last), finished_run).learner
        own = list(learner.generators.parameters())
        for number, weight in enumerate(own):
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
            weight.grad = torch.empty_like(weight).copy_(noise)
        learner.generator_optimizer.step()
        after.append(own)
    assert all(torch.allclose(one, other, rtol=0, atol=1e-6) for one, other in zip(*after, strict=True))


def test_a_run_whose_start_is_gone_or_elsewhere_is_resumed(domains: tuple[Path, Path], finished_run: Path, tmp_path: Path) -> None:
    first = shutil.copytree(finished_run, tmp_path / "first")
    Trainer(tiny_config(domains, start=first), tmp_path / "tuned").save()
    shutil.rmtree(first)
    for start in (first, None, tmp_path / "elsewhere"):
        resumed = Trainer(tiny_config(domains, start=start), tmp_path / "tuned")
    assert resumed.changes == ["start has no effect, since the run has started already"]


def test_a_checkpoint_of_an_earlier_version_is_resumed(domains: tuple[Path, Path], finished_run: Path, tmp_path: Path) -> None:
    run = earlier_version(finished_run, tmp_path / "run")
    Trainer(tiny_config(domains, steps=7), run).train()
    assert steps(run) == 7
    assert (load_checkpoint(run) or {})["data"].keys() == {"day", "dusk"}


def test_generators_that_are_kept_alone_are_no_run_to_go_on_with(domains: tuple[Path, Path], finished_run: Path, tmp_path: Path) -> None:
    """best.pt, left over, or in the place of the checkpoint."""
    checkpoint = load_checkpoint(finished_run)
    assert checkpoint is not None
    best = {name: checkpoint[name] for name in ("config", "step", "ema")}
    for name, told in (("best.pt", r"best\.pt of an earlier run"), ("checkpoint.pt", "contains only generators")):
        (tmp_path / name).mkdir()
        torch.save(best, tmp_path / name / name)
        with pytest.raises(ConfigError, match=told):
            Trainer(tiny_config(domains), tmp_path / name)
    assert Trainer(tiny_config(domains, start=tmp_path / "checkpoint.pt"), tmp_path / "new").step == 0


def test_a_checkpoint_that_cannot_be_read_for_now_is_not_told_to_be_deleted(
    domains: tuple[Path, Path], finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (
        PermissionError(errno.EACCES, "Permission denied"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ):

        def refuse(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(torch, "load", refuse)
        with pytest.raises(type(error)):
            Trainer(tiny_config(domains), finished_run)


def test_a_run_that_is_being_trained_is_not_trained_twice(tmp_path: Path) -> None:
    hold = "import pathlib, sys, training.files as f\nwith f.locked(pathlib.Path(sys.argv[1])): print(1, flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", hold, tmp_path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(ConfigError, match=rf"is being trained by process {process.pid} on \S+: wait for it"), locked(tmp_path):
        pass
    process.kill()
    process.wait()
    (tmp_path / "checkpoint.tmp").touch()  # which it was writing
    with locked(tmp_path):
        assert not (tmp_path / "checkpoint.tmp").exists()


def test_a_full_disk_keeps_the_last_checkpoint_and_leaves_nothing_half_written(
    domains: tuple[Path, Path], finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    kept = {path: path.read_bytes() for path in (run / "checkpoint.pt", run / "losses.csv", run / "config.yaml")}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    resumed = Trainer(tiny_config(domains, steps=8), run)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=rf"{run} cannot be written: No space left.*the last good checkpoint is {run / 'checkpoint.pt'}"):
        resumed.train()
    with pytest.raises(ConfigError, match="No space left"):
        resumed.save()
    assert {path: path.read_bytes() for path in kept} == kept
    assert not list(run.glob("*.tmp"))


def test_another_programs_checkpoint_is_named(domains: tuple[Path, Path], tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(ConfigError, match=r"checkpoint\.pt is not a checkpoint of this program"):
        Trainer(tiny_config(domains), tmp_path)


def torchrun(train: list[str]) -> list[str]:
    assert train[:2] == [sys.executable, "-m"]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "--", *train[2:]]


def test_two_processes_train_as_one_with_both_their_batches(
    domains: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each on its share of the pictures. Stopped and resumed on the way. In fp32, where only the order of sums differs, which Adam's
    first steps make more of."""
    fields = {"pool_size": 0, "precision": "fp32", "checkpoint_every": 2, "decay_steps": 0, "flip": False}
    for steps in (4, 6):
        train = torchrun(train_command(domains, tmp_path / "two", **fields, steps=steps))
        subprocess.run(train, cwd=ROOT, check=True)
    config = tiny_config(domains, **fields)
    shares = [load_domains(config, rank, 2) for rank in (0, 1)]

    def both(x: Domain, y: Domain, first: int, device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for step in count(first):
            yield tuple(torch.cat([share[i].batch(step) for share in shares]) for i in (0, 1))  # type: ignore[misc]

    monkeypatch.setattr(trainer, "batches", both)
    Trainer(config.model_copy(update={"batch_size": 2}), tmp_path / "one").train()
    one, two = (  # but for pull_G and pull_F, ratios of norms, which are not averaged over a batch
        [{name: value for name, value in line.items() if not name.startswith("pull")} for line in read_losses(tmp_path / name)]
        for name in ("one", "two")
    )
    assert one[0] == pytest.approx(two[0], rel=1e-4)
    assert one[2] == pytest.approx(two[2], rel=1e-2)
    with pytest.raises(ConfigError, match="processes 2 → 1"):
        Trainer(tiny_config(domains, **fields), tmp_path / "two")
    assert Trainer(tiny_config(domains, **fields), tmp_path / "two", force=True).step == 6
