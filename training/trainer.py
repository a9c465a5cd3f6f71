"""The training loop: steps, checkpoints, logs, sample sheets and evaluations, in one process or several."""

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

from training import checkpoints, distributed
from training.config import CONFIG, TrainingConfig
from training.data import batches, load_domains
from training.devices import choose_device, choose_precision
from training.evaluation import EVALUATION, EvaluationOptions, Evaluator, run_folders, run_translators
from training.files import write_atomic
from training.learner import Learner
from training.logs import RunLog
from training.progress import describe_critics, format_losses, progress_bar
from training.records import records
from training.sheets import read_samples, run_sheet
from training.starting import starting_weights


class NonFiniteLoss(RuntimeError):
    """A loss became infinite or NaN. The message names the last good checkpoint."""


class Trainer:
    """Trains one run. Starts a new run, or resumes from the checkpoint in the run's folder.
    Raises ConfigError if pictures or settings differ from the checkpoint's in a way that needs `force`."""

    def __init__(self, config: TrainingConfig, run: Path, force: bool = False) -> None:
        self.config = config
        self.run = run
        self.force = force
        self.rank, self.ranks = distributed.start()
        self.device = choose_device(config.device)
        self.dtype = choose_precision(config.precision, self.device)
        self.step = 0
        self.changes: list[str] = []
        """The settings that differ from the checkpoint's."""
        self._losses: list[dict[str, Tensor]] = []
        """The losses of each step since the last line of the log."""
        self._data: dict[str, dict[str, Any]] = {}
        """The number and the hash of each domain's training pictures."""
        self._stop = False

        checkpoint = checkpoints.load_checkpoint(run)
        if checkpoint:
            self.changes = checkpoints.check_resumable(checkpoint, config, self.ranks, force)
        else:
            checkpoints.check_new(run)
        self.learner = Learner(config, self.device, self.dtype, self.rank)
        if checkpoint:
            self.learner.load_state_dict(checkpoint)
            self.step = checkpoint["step"]
            self._losses = [{name: loss.to(self.device) for name, loss in losses.items()} for losses in checkpoint["losses"]]
            self._data = checkpoint.get("data", {})
        elif config.start:
            self.learner.load_weights(starting_weights(config.start, config))
        self.learner.wrap()

    def save(self) -> Path:
        """Write the checkpoint. Raises NonFiniteLoss, and keeps the old one, if a loss since the last log line is not finite."""
        if self._losses:
            self._mean_losses()
        state = self._metadata() | self.learner.state_dict() | {"losses": self._losses}
        return checkpoints.save_checkpoint(self.run, state) if self.rank == 0 else self.run / checkpoints.CHECKPOINT

    def _metadata(self) -> dict[str, Any]:
        return {"config": self.config.model_dump(mode="json"), "step": self.step, "data": self._data, "records": records()}

    def train(self) -> None:
        """Train until `steps`, or until SIGINT or SIGTERM."""
        config = self.config
        console = Console(soft_wrap=True, quiet=self.rank > 0)
        precision = str(self.dtype).removeprefix("torch.")
        console.print(f"{self.run}: step {self.step} of {config.steps} on {self.device} in {precision}, {self.ranks} process(es)")
        if self.changes:
            console.print(f"changed since the checkpoint: {'; '.join(self.changes)}")
        if critics := describe_critics(config):
            console.print(critics)
        x, y = load_domains(config, self.rank, self.ranks, self.device)
        domains = {config.source_domain: x, config.target_domain: y}
        data = {name: {"pictures": domain.listed, "sha256": domain.fingerprint} for name, domain in domains.items()}
        checkpoints.check_pictures(self._data, data, self.force)
        self._data = data
        console.print(f"{x.listed} pictures of {config.source_domain}, {y.listed} of {config.target_domain}")
        samples = read_samples(config)
        evaluator: Evaluator | None = None
        if config.evaluate_every and self.rank == 0:
            options = EvaluationOptions(config.evaluate_count, device=str(self.device))
            evaluator = Evaluator(run_folders(config), options, self.learner.model.features)
        log: RunLog | None = None
        handlers = {number: signal.signal(number, self._request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            if self.rank == 0:
                if not self.step:  # an earlier run may have left an evaluation in this folder
                    (self.run / EVALUATION).unlink(missing_ok=True)
                log = RunLog(self.run, self.step)
                write_atomic(self.run / CONFIG, config.to_yaml().encode())
            with progress_bar(console) as progress:
                task = progress.add_task("", total=config.steps, completed=self.step)
                for pair in batches(x, y, self.step, self.device):
                    if self.step >= config.steps or distributed.any_of(self._stop):
                        break
                    self._losses.append(self.learner.train_step(*pair, self.step, measure=not self._losses))
                    self.step += 1
                    progress.update(task, completed=self.step)
                    if self._is_due(config.log_every):
                        means = self._mean_losses()
                        self._losses = []
                        progress.update(task, description=format_losses(means))
                        if log:
                            log.losses(self.step, config.lr_at(self.step - 1), means)
                    if log and self._is_due(config.sample_every):
                        log.sheet(self.step, run_sheet(dict(self.learner.averaged.items()), samples))
                    evaluate = config.evaluate_every and self._is_due(config.evaluate_every)
                    if self.step % config.checkpoint_every == 0 or evaluate:
                        self.save()
                    if log and evaluator and evaluate:
                        log.evaluation(self.step, self._evaluate(evaluator))
            self.save()
        except OSError as error:
            raise checkpoints.write_error(self.run, error) from None
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if log:
                with suppress(OSError):  # the error above is enough
                    log.close()
        distributed.leave()
        outcome = "done" if self.step >= config.steps else "stopped; the same command resumes"
        console.print(f"step {self.step} of {config.steps}: {outcome} ({self.run / checkpoints.CHECKPOINT})")

    def _evaluate(self, evaluator: Evaluator) -> dict[str, dict[str, Any]]:
        """Return the figures of the averaged generators by direction. Keep the generators if their score is the best so far."""
        translators = run_translators(self.config, dict(self.learner.averaged.items()))
        evaluation = evaluator.evaluate(translators, self.run, {"steps": self.step})
        score = mean(figures["score"] for figures in evaluation["directions"].values())
        best = checkpoints.load_checkpoint(self.run, checkpoints.BEST)
        if not best or score > best["score"]:
            state = {"ema": self.learner.ema.state_dict(), "evaluation": evaluation, "score": score}
            checkpoints.save_checkpoint(self.run, self._metadata() | state, checkpoints.BEST)
        return evaluation["directions"]

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _mean_losses(self) -> dict[str, float]:
        """Return the mean of each loss since the last log line, over all processes. Raises NonFiniteLoss.
        Losses stay on the device until here, so that steps do not wait for them."""
        names = list(dict.fromkeys(name for losses in self._losses for name in losses))
        means = [torch.stack([losses[name] for losses in self._losses if name in losses]).mean() for name in names]
        values = dict(zip(names, distributed.average(torch.stack(means)).tolist(), strict=True))
        if not all(map(math.isfinite, values.values())):
            hint = f"{checkpoints.last_checkpoint(self.run)}. Try a lower lr, or precision=fp32."
            raise NonFiniteLoss(f"a loss was not finite before step {self.step}: {values}; {hint}")
        return values

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        """Stop after the current step on the first signal, and at once on the second."""
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
