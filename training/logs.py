"""The logs of a run: losses.csv, TensorBoard event files, sample sheets, and a plot of the losses."""

import csv
import io
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from training.files import open_atomic, write_atomic

LOSSES = "losses.csv"
CURVES = "losses.png"
SAMPLES = "samples"
TENSORBOARD = "tensorboard"

PANELS = {"adversarial": ("G", "F"), "critics": ("D_X", "D_Y"), "cycle": ("cycle_X", "cycle_Y"), "identity": ("identity_X", "identity_Y")}


class RunLog:
    """Writes a run's logs from `step` on. Entries after that step, from a run that was killed, are dropped."""

    def __init__(self, run: Path, step: int) -> None:
        self.run = run
        (run / SAMPLES).mkdir(parents=True, exist_ok=True)
        self._lines = [line for line in read_losses(run) if line["step"] <= step]
        self._columns = list(dict.fromkeys(name for line in self._lines for name in line))
        self._rewrite()
        self._tensorboard = SummaryWriter(run / TENSORBOARD, purge_step=step + 1)

    def losses(self, step: int, lr: float, means: dict[str, float]) -> None:
        """Append a line with the mean losses since the previous line."""
        line = {"step": step, "lr": lr} | means
        self._lines.append(line)
        if new := [name for name in line if name not in self._columns]:
            self._columns += new
            self._rewrite()
        else:
            with (self.run / LOSSES).open("a", newline="") as file:
                csv.DictWriter(file, self._columns, restval="").writerow(_format(line))
        for name, value in (means | {"lr": lr}).items():
            self._tensorboard.add_scalar(f"loss/{name}" if name in means else name, value, step)

    def sheet(self, step: int, jpeg: bytes) -> None:
        """Write a sample sheet."""
        write_atomic(self.run / SAMPLES / f"{step:07d}.jpg", jpeg)
        self._tensorboard.add_image("samples", np.asarray(Image.open(io.BytesIO(jpeg))), step, dataformats="HWC")

    def evaluation(self, step: int, directions: dict[str, dict[str, Any]]) -> None:
        """Write the figures of each direction to TensorBoard."""
        for direction, figures in directions.items():
            for name, value in figures.items():
                if isinstance(value, int | float):
                    self._tensorboard.add_scalar(f"{direction}/{name}", value, step)

    def close(self) -> None:
        """Flush TensorBoard and plot the losses."""
        self._tensorboard.close()
        if self._lines:
            with open_atomic(self.run / CURVES) as file:
                _plot(self._lines, file)

    def _rewrite(self) -> None:
        """Replace the whole file, with all columns. Lines without a value for a column are empty there."""
        if not self._lines:
            (self.run / LOSSES).unlink(missing_ok=True)
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, restval="")
        writer.writeheader()
        writer.writerows(map(_format, self._lines))
        write_atomic(self.run / LOSSES, text.getvalue().encode())


def _format(line: dict[str, float]) -> dict[str, str]:
    return {name: str(int(value)) if name == "step" else f"{value:.6g}" for name, value in line.items()}


def read_losses(run: Path) -> list[dict[str, float]]:
    """Return the lines of a run's losses.csv, each with the values that it has; an empty list if there is no file.
    Incomplete lines, as a full disk may leave them, are skipped."""
    path = run / LOSSES
    if not path.exists():
        return []
    lines = []
    with path.open(newline="", errors="replace") as file:
        for line in csv.DictReader(file):
            with suppress(ValueError, TypeError):
                lines.append({name: float(value) for name, value in line.items() if value != ""})
    return [line for line in lines if "step" in line]


def mean_losses(lines: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each loss over the lines that have it."""
    names = dict.fromkeys(name for line in lines for name in line if name not in ("step", "lr"))
    return {name: float(np.mean([line[name] for line in lines if name in line])) for name in names}


def _plot(lines: list[dict[str, float]], file: BinaryIO) -> None:
    """Write a PNG with a panel for each kind of loss."""
    from matplotlib.figure import Figure  # slow to import, and only needed at the end of a run

    figure = Figure(figsize=(12, 8))
    panels = figure.subplots(2, 2, gridspec_kw={"hspace": 0.3}).flat
    for axes, (title, names) in zip(panels, PANELS.items(), strict=True):
        for name in names:
            points = [(line["step"], line[name]) for line in lines if name in line]
            if points:
                axes.plot(*zip(*points, strict=True), label=name)
        axes.set(title=title, xlabel="step")
        if axes.lines:
            axes.legend()
    figure.savefig(file, format="png")
