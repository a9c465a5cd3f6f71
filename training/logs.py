"""What a run leaves to look at: losses.csv, TensorBoard's event files, sample sheets, and the loss curves as a picture."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

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
        kept = [line for line in read_losses(run) if line["step"] <= step]
        (run / LOSSES).unlink(missing_ok=True)
        for line in kept:
            self._append(line)
        self._tensorboard = SummaryWriter(run / TENSORBOARD, purge_step=step + 1)

    def losses(self, step: int, lr: float, means: dict[str, float]) -> None:
        """One line: means since the line before."""
        self._append({"step": step, "lr": lr} | means)
        for name, value in (means | {"lr": lr}).items():
            self._tensorboard.add_scalar(f"loss/{name}" if name in means else name, value, step)

    def sheet(self, step: int, jpeg: bytes) -> None:
        """A sample sheet."""
        path = self.run / SAMPLES / f"{step:07d}.jpg"
        path.write_bytes(jpeg)
        self._tensorboard.add_image("samples", np.asarray(Image.open(path)), step, dataformats="HWC")

    def close(self) -> None:
        """Write what is still buffered, and the loss curves."""
        self._tensorboard.close()
        lines = read_losses(self.run)
        if lines:
            _curves(lines).savefig(self.run / CURVES)

    def _append(self, line: dict[str, float]) -> None:
        path = self.run / LOSSES
        begun = path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if not begun:
                writer.writerow(line)
            writer.writerow([int(value) if name == "step" else f"{value:.6g}" for name, value in line.items()])


def read_losses(run: Path) -> list[dict[str, float]]:
    """The lines of a run's losses.csv, oldest first; none where it has none."""
    path = run / LOSSES
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in line.items()} for line in csv.DictReader(file)]


def mean_losses(lines: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each loss over `lines`."""
    names = [name for name in lines[0] if name not in ("step", "lr")]
    return {name: float(np.mean([line[name] for line in lines])) for name in names}


def _curves(lines: list[dict[str, float]]) -> Figure:
    """A panel a kind of loss, over steps."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    steps = [line["step"] for line in lines]
    for axes, (title, names) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for name in names:
            if name in lines[0]:
                axes.plot(steps, [line[name] for line in lines], label=name)
        axes.set(title=title, xlabel="step")
        if axes.lines:
            axes.legend()
    return figure
