"""What a run leaves to look at: losses.csv, TensorBoard's event files, sample sheets, and the loss curves as a picture."""

import csv
import io
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from training.files import whole

LOSSES = "losses.csv"
CURVES = "losses.png"
SAMPLES = "samples"
TENSORBOARD = "tensorboard"

PANELS = {"adversarial": ("G", "F"), "critics": ("D_X", "D_Y"), "cycle": ("cycle_X", "cycle_Y"), "identity": ("identity_X", "identity_Y")}


class RunLog:
    """The records of a run's folder, from step `step` on; what a run that was killed wrote after that is dropped."""

    def __init__(self, run: Path, step: int) -> None:
        self.run = run
        (run / SAMPLES).mkdir(parents=True, exist_ok=True)
        self._lines = [line for line in read_losses(run) if line["step"] <= step]
        self._names = list(dict.fromkeys(name for line in self._lines for name in line))
        self._write_all()
        self._tensorboard = SummaryWriter(run / TENSORBOARD, purge_step=step + 1)

    def losses(self, step: int, lr: float, means: dict[str, float]) -> None:
        """One line: means since the line before."""
        self._append({"step": step, "lr": lr} | means)
        for name, value in (means | {"lr": lr}).items():
            self._tensorboard.add_scalar(f"loss/{name}" if name in means else name, value, step)

    def sheet(self, step: int, jpeg: bytes) -> None:
        """A sample sheet."""
        path = self.run / SAMPLES / f"{step:07d}.jpg"
        with whole(path) as file:
            file.write(jpeg)
        self._tensorboard.add_image("samples", np.asarray(Image.open(path)), step, dataformats="HWC")

    def evaluation(self, step: int, directions: dict[str, dict[str, Any]]) -> None:
        """The figures of each direction, for TensorBoard."""
        for direction, figures in directions.items():
            for name, value in figures.items():
                if isinstance(value, int | float):
                    self._tensorboard.add_scalar(f"{direction}/{name}", value, step)

    def close(self) -> None:
        """Write what is still buffered, and the loss curves."""
        self._tensorboard.close()
        if self._lines:
            with whole(self.run / CURVES) as file:
                _curves(self._lines, file)

    def _append(self, line: dict[str, float]) -> None:
        self._lines.append(line)
        if new := [name for name in line if name not in self._names]:
            self._names += new
            self._write_all()
        else:
            with (self.run / LOSSES).open("a", newline="") as file:
                self._writer(file).writerow(_written(line))

    def _write_all(self) -> None:
        """The whole file anew, put in the place of the old one: with all columns, empty where a line has no such figure."""
        if not self._lines:
            (self.run / LOSSES).unlink(missing_ok=True)
            return
        text = io.StringIO(newline="")
        writer = self._writer(text)
        writer.writeheader()
        writer.writerows(map(_written, self._lines))
        with whole(self.run / LOSSES) as file:
            file.write(text.getvalue().encode())

    def _writer(self, file: TextIO) -> csv.DictWriter:
        return csv.DictWriter(file, self._names, restval="")


def _written(line: dict[str, float]) -> dict[str, str]:
    return {name: str(int(value)) if name == "step" else f"{value:.6g}" for name, value in line.items()}


def read_losses(run: Path) -> list[dict[str, float]]:
    """The lines of a run's losses.csv, oldest first, each with the figures that it has; none where there is no file. A line that is
    cut off, as by a full disk, is left out."""
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
    """The mean of each loss over those of the `lines` that have it."""
    names = dict.fromkeys(name for line in lines for name in line if name not in ("step", "lr"))
    return {name: float(np.mean([line[name] for line in lines if name in line])) for name in names}


def _curves(lines: list[dict[str, float]], file: BinaryIO) -> None:
    """A panel a kind of loss, over steps, as PNG."""
    from matplotlib.figure import Figure  # which takes long, and is needed at a run's end

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
