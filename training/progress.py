"""What training prints in the terminal."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.config import TrainingConfig


def describe_critics(config: TrainingConfig) -> str | None:
    """Say which critics are used if that depends on what is installed, else return None."""
    if config.discriminator != "features":
        return None
    if config.has_features:
        return f"critics use features of VGG-19 (features={config.features})"
    ignored = " and lambda_content is ignored" if any(config.lambda_content) else ""
    return (
        f"critics are PatchGANs with spectral norm{ignored}, because VGG-19 is not available: for better ones start a run after "
        "`pip install torchvision`, or with --set features=FILE (torchvision's vgg19-dcbb9e9d.pth)"
    )


def progress_bar(console: Console) -> Progress:
    """Return a progress bar that fits a terminal of 80 columns."""
    return Progress(BarColumn(8), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"), console=console)


def format_losses(means: dict[str, float]) -> str:
    """Return the most important losses in short form."""
    pairs = {"G": ("G", "F"), "cyc": ("cycle_X", "cycle_Y"), "idt": ("identity_X", "identity_Y"), "D": ("D_X", "D_Y")}
    return " ".join(f"{label} {means[x]:.2f} {means[y]:.2f}" for label, (x, y) in pairs.items() if x in means)
