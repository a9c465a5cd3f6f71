"""The loop around the training step: checkpoints, logs, samples and judging, in one process or several."""

import math
import signal
from contextlib import suppress
from pathlib import Path
from statistics import mean
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from training import distributed
from training.checkpoints import (
    BEST,
    CHECKPOINT,
    check_new,
    check_pictures,
    check_resumable,
    load_checkpoint,
    not_written,
    save_checkpoint,
)
from training.config import CONFIG, TrainingConfig
from training.data import Domain, batches, load_domains
from training.devices import choose_device, choose_precision
from training.evaluation import EVALUATION, Judging, Means, run_folders, run_translates
from training.files import whole
from training.learner import Learner
from training.logs import RunLog
from training.progress import progress, told_critics, told_losses
from training.records import records
from training.sheets import read_samples, run_sheet
from training.starting import starting_weights


class NonFiniteLoss(RuntimeError):
    """A loss became infinite or NaN; the message names the last good checkpoint."""


class Trainer:
    """One run in its folder: made new, or from the folder's checkpoint where there is one; with other pictures or settings than that
    has only where `force` says so."""

    def __init__(self, config: TrainingConfig, run: Path, force: bool = False) -> None:
        self.config = config
        self.run = run
        self.force = force
        self.rank, self.ranks = distributed.start()
        self.device = choose_device(config.device)
        self.dtype = choose_precision(config.precision, self.device)
        self.step = 0
        self.changes: list[str] = []
        """What of the configuration is other than the checkpoint's."""

        checkpoint = load_checkpoint(run)
        if checkpoint:
            self.changes = check_resumable(checkpoint, config, self.ranks, force)
        else:
            check_new(run)
        self.learner = Learner(config, self.device, self.dtype, self.rank)
        if config.start and not checkpoint:
            self.learner.start_from(starting_weights(config.start, config))
        self._losses: list[dict[str, Tensor]] = []
        """Those that no line of the log holds yet."""
        self._data: dict[str, dict[str, Any]] = {}
        """What the pictures are."""
        if checkpoint:
            self.learner.resume(checkpoint)
            self.step = checkpoint["step"]
            self._losses = [{name: part.to(self.device) for name, part in parts.items()} for parts in checkpoint["losses"]]
            self._data = checkpoint.get("data", {})
        self.learner.share()
        self._stop = False

    def _look_at(self, *domains: tuple[str, Domain]) -> None:
        """Raises ConfigError where the pictures are others than those that the run was begun with."""
        found = {name: {"pictures": domain.listed, "sha256": domain.fingerprint} for name, domain in domains}
        check_pictures(self._data, found, self.force)
        self._data = found

    def save(self) -> Path:
        """Write the checkpoint. Raises NonFiniteLoss, and leaves the one before, where the losses since the last line are not finite."""
        if self._losses:
            self._mean_losses()
        state = self._origin() | self.learner.state() | {"losses": self._losses}
        return save_checkpoint(self.run, state) if self.rank == 0 else self.run / CHECKPOINT

    def _origin(self) -> dict[str, Any]:
        """What weights are kept with: what they were trained with."""
        return {"config": self.config.model_dump(mode="json"), "step": self.step, "data": self._data, "records": records()}

    def train(self) -> None:
        """Train until `steps`, or until Ctrl-C, after which the same command resumes."""
        config = self.config
        console = Console(soft_wrap=True, quiet=self.rank > 0)
        precision = str(self.dtype).removeprefix("torch.")
        console.print(f"{self.run}: step {self.step} of {config.steps} on {self.device} in {precision}, {self.ranks} process(es)")
        if self.changes:
            console.print(f"changed since the checkpoint: {'; '.join(self.changes)}")
        if told := told_critics(config):
            console.print(told)
        x, y = load_domains(config, self.rank, self.ranks, self.device)
        self._look_at((config.source_domain, x), (config.target_domain, y))
        console.print(f"{x.listed} pictures of {config.source_domain}, {y.listed} of {config.target_domain}")
        samples = read_samples(config)
        judging = self._judging() if config.evaluate_every and self.rank == 0 else None
        log: RunLog | None = None
        handlers = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            if self.rank == 0:
                if not self.step:  # figures of an earlier run in this folder
                    (self.run / EVALUATION).unlink(missing_ok=True)
                log = RunLog(self.run, self.step)
                with whole(self.run / CONFIG) as file:
                    file.write(config.to_yaml().encode())
            with progress(console) as shown:
                bar = shown.add_task("", total=config.steps, completed=self.step)
                for pair in batches(x, y, self.step, self.device):
                    if self.step >= config.steps or distributed.any_of(self._stop):
                        break
                    self._losses.append(self.learner.train_step(*pair, self.step, measure=not self._losses))
                    self.step += 1
                    shown.update(bar, completed=self.step)
                    if self._due(config.log_every):
                        means = self._mean_losses()
                        self._losses = []
                        shown.update(bar, description=told_losses(means))
                        if log:
                            log.losses(self.step, config.lr_at(self.step - 1), means)
                    if log and self._due(config.sample_every):
                        log.sheet(self.step, run_sheet(dict(self.learner.averaged.items()), samples))
                    judged = config.evaluate_every and self._due(config.evaluate_every)
                    if self.step % config.checkpoint_every == 0 or judged:
                        self.save()
                    if log and judging and judged:
                        log.evaluation(self.step, self._evaluate(judging))
            self.save()
        except OSError as error:
            raise not_written(self.run, error) from None
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if log:
                with suppress(OSError):  # which was told already, unless it is of no more than the curves
                    log.close()
        distributed.leave()
        ended = "done" if self.step >= config.steps else "stopped; the same command resumes"
        console.print(f"step {self.step} of {config.steps}: {ended} ({self.run / CHECKPOINT})")

    def _judging(self) -> Judging:
        """By EfficientNet, and by VGG-19 where critics or lambda_content have it."""
        means = Means(self.config.evaluate_count, device=str(self.device))
        return Judging(run_folders(self.config), means, self.learner.model.features)

    def _evaluate(self, judging: Judging) -> dict[str, dict[str, Any]]:
        """The averaged generators' figures, by direction; they are kept as the best where none before were better."""
        translates = run_translates(self.config, dict(self.learner.averaged.items()))
        evaluation = judging.judge(translates, self.run, {"steps": self.step})
        score, best = mean(each["score"] for each in evaluation["directions"].values()), load_checkpoint(self.run, BEST)
        if not best or score > best["score"]:
            kept = {"ema": self.learner.ema.state_dict(), "evaluation": evaluation, "score": score}
            save_checkpoint(self.run, self._origin() | kept, BEST)
        return evaluation["directions"]

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _mean_losses(self) -> dict[str, float]:
        """The mean of each loss since the log's last line, over all processes, read only now, so that no step waits.
        Raises NonFiniteLoss."""
        names = list(dict.fromkeys(name for step in self._losses for name in step))
        parts = [torch.stack([step[name] for step in self._losses if name in step]).mean() for name in names]
        values = distributed.average(torch.stack(parts))
        means = dict(zip(names, values.tolist(), strict=True))
        if not all(map(math.isfinite, means.values())):
            saved = self.run / CHECKPOINT
            good = f"the last good checkpoint is {saved}" if saved.exists() else "there is no checkpoint yet"
            raise NonFiniteLoss(f"a loss was not finite before step {self.step}: {means}; {good}. Try a lower lr, or precision=fp32.")
        return means

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """The first signal ends the run after the step; the second ends it at once."""
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
