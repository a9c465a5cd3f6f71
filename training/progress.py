"""What a person is told in the terminal while a run goes on."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.config import TrainingConfig


def told_critics(config: TrainingConfig) -> str | None:
    """Which critics there are where that depends on what is installed; None where it does not."""
    if config.discriminator != "features":
        return None
    if config.has_features:
        return f"critics look through VGG-19 (features={config.features})"
    without = " and lambda_content counts for nothing" if any(config.lambda_content) else ""
    return (
        f"critics are PatchGANs with spectral norm{without}, since there is no VGG-19: for better ones begin a run after "
        "`pip install torchvision`, or with --set features=FILE (torchvision's vgg19-dcbb9e9d.pth)"
    )


def progress(console: Console) -> Progress:
    """Narrow enough for a terminal of 80 columns."""
    return Progress(BarColumn(8), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"), console=console)


def told_losses(means: dict[str, float]) -> str:
    """The most important ones, in short."""
    pairs = {"G": ("G", "F"), "cyc": ("cycle_X", "cycle_Y"), "idt": ("identity_X", "identity_Y"), "D": ("D_X", "D_Y")}
    return " ".join(f"{short} {means[x]:.2f} {means[y]:.2f}" for short, (x, y) in pairs.items() if x in means)
