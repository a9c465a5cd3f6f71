"""The commands: `python -m training train|evaluate|export|import|sample|prepare|push|pull`."""

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from models.bundle import Bundle, BundleError
from models.remote import pull, push
from training.config import ConfigError, default_preset, load_config, parse_settings
from training.data import paired_folders, train_folder
from training.devices import choose_device
from training.evaluation import EvaluationOptions, evaluate_bundle, evaluate_run
from training.export import NO_LICENCE, export_run
from training.files import check_writable, locked
from training.importing import import_generator
from training.judging.figures import table
from training.logs import SAMPLES
from training.memory import is_out_of_memory
from training.preparing import prepare
from training.sampling import sample_folder
from training.tiling import ExportError
from training.trainer import NonFiniteLoss, Trainer
from training.weights import write_weights

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Models = Annotated[Path, typer.Option(help="Where the bundles go: one folder for each direction.")]
About = Annotated[str | None, typer.Option(help="For the cards: what the training pictures are, and whose.")]
Licence = Annotated[str, typer.Option(help="For the cards: what may be done with the weights.")]


@app.callback()
def _commands() -> None:
    """Train CycleGAN on two folders of pictures, evaluate it, and export it."""


@app.command()
def train(
    run: Annotated[Path, typer.Option(help="The run's folder: checkpoints, losses and samples. An existing run is resumed.")],
    source: Annotated[Path | None, typer.Option(help="Folder of the source domain, with train/ and test/.")] = None,
    target: Annotated[Path | None, typer.Option(help="Folder of the target domain, with train/ and test/.")] = None,
    data: Annotated[Path | None, typer.Option(help="Instead of both: a folder with trainA/ and trainB/, like horse2zebra.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="lite, medium, standard, paper, or a YAML file. Default: the run's, or standard.")
    ] = None,
    teacher: Annotated[Path | None, typer.Option(help="A bundle or a run of the same direction to learn from.")] = None,
    settings: Annotated[list[str], typer.Option("--set", help="Any field, like --set steps=20000.")] = [],  # noqa: B006
    force: Annotated[bool, typer.Option(help="Resume even if pictures or settings have changed.")] = False,
) -> None:
    """Train both directions. After Ctrl-C or a crash, the same command resumes, or just `train --run RUN`."""
    if data and (source or target):
        raise ConfigError("--data names both folders: leave out --source and --target")
    folders = paired_folders(data) if data else {"source": source, "target": target}
    options = {name: path for name, path in (folders | {"teacher": teacher}).items() if path is not None}
    fields = parse_settings(settings)
    if both := options.keys() & fields.keys():
        raise ConfigError(f"{', '.join(sorted(both))}: given twice, as an option and by --set: leave one out")
    config = load_config(preset or default_preset(run), **options, **fields)
    for domain in (config.source, config.target):
        if train_folder(domain).resolve() in (run / SAMPLES).resolve().parents:  # sheets would become training pictures
            raise ConfigError(f"--run {run} is in the folder of pictures {domain}: name a folder elsewhere, like runs/{run.name}")
    with locked(run):
        Trainer(config, run, force).train()


@app.command()
def evaluate(
    run: Annotated[Path | None, typer.Option(help="A trained run's folder.")] = None,
    model: Annotated[Path | None, typer.Option(help="Instead of a run: a bundle's folder, like models/photo2monet.")] = None,
    source: Annotated[Path | None, typer.Option(help="Folder of the source domain; default: the run's own.")] = None,
    target: Annotated[Path | None, typer.Option(help="Folder of the target domain; default: the run's own.")] = None,
    best: Annotated[bool, typer.Option(help="Use the run's best weights (see evaluate_every) instead of the last.")] = False,
    beside: Annotated[Path | None, typer.Option(help="A bundle whose translations the sheet also shows.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for figures and sheets; default: the run's, or the current one.")] = None,
    count: Annotated[int, typer.Option(min=2, help="The most pictures of each folder to use.")] = 100,
    features: Annotated[Path | None, typer.Option(help="VGG-19's weights, for a second opinion: torchvision's vgg19-dcbb9e9d.pth.")] = None,
    inception: Annotated[
        Path | None,
        typer.Option(
            help="For FID, which needs a --count of thousands: InceptionV3 as TorchScript, like NVIDIA's inception-2015-12-05.pt."
        ),
    ] = None,
    lpips: Annotated[bool, typer.Option(help="Measure LPIPS there and back, with torchvision's AlexNet.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Evaluate a run's directions, or a bundle, on test pictures: figures in evaluation.json, and a sheet to look at."""
    options = EvaluationOptions(count, features, inception, lpips, str(choose_device(device)))
    folder = output or run or Path()
    if run and not model:
        evaluation = evaluate_run(run, options, source=source, target=target, output=output, best=best, beside=beside)
    elif model and not run and source and target and not best:
        evaluation = evaluate_bundle(model, options, source, target, folder, beside)
    else:
        raise ConfigError("give --run, or --model with --source and --target")
    for direction, figures in evaluation["directions"].items():
        rows = Table("figure", title=f"{direction}: score {figures['score']:.3f}")
        for column in ("value", "floor", "base", "closed"):
            rows.add_column(column, justify="right")
        for row, cells in table(figures):
            rows.add_row(row.name, *cells)
        Console().print(rows)
        typer.echo(f"sheet: {folder / direction}.jpg")


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="A trained run's folder.")],
    models: Models = Path("models"),
    pictures: Annotated[
        Path | None, typer.Option(help="Pictures for the cards, in a folder named by each domain; mind their licence.")
    ] = None,
    source: Annotated[Path | None, typer.Option(help="Current folder of the source domain, for the checks.")] = None,
    target: Annotated[Path | None, typer.Option(help="Current folder of the target domain.")] = None,
    best: Annotated[bool, typer.Option(help="Export the best weights (see evaluate_every) instead of the last.")] = False,
    weights: Annotated[Path | None, typer.Option(help="Folder for latest_net_G_A.pth and so on, for other programs.")] = None,
    about: About = None,
    licence: Licence = NO_LICENCE,
) -> None:
    """Write both directions of a run as bundles, as a new version of each, after comparing them with PyTorch."""
    if weights:
        check_writable(weights)
    for bundle in export_run(run, models, pictures, about, licence, source=source, target=target, best=best):
        _print_bundle(bundle)
    if weights:
        for path in write_weights(run, weights, best):
            typer.echo(path)


@app.command("import")
def import_(
    generator: Annotated[Path, typer.Option(help="A weight file of another program, like latest_net_G.pth. No code in it is run.")],
    direction: Annotated[str, typer.Option(help="What it does, like horse2zebra.")],
    models: Models = Path("models"),
    size: Annotated[int, typer.Option(min=8, help="Side in pixels of the crops that it was trained on.")] = 256,
    pictures: Annotated[Path | None, typer.Option(help="Source pictures for checks and INT8; default: generated ones, no INT8.")] = None,
    about: About = None,
    licence: Licence = NO_LICENCE,
) -> None:
    """Write another program's generator as a bundle, as a new version of its direction, after comparing it with PyTorch."""
    _print_bundle(import_generator(generator, direction, models, size, pictures, about, licence))


def _print_bundle(bundle: Bundle) -> None:
    size, mean = bundle.onnx.stat().st_size, bundle.version.evaluation["parity"]["mean_difference"]
    typer.echo(f"{bundle.onnx}: {bundle.version.architecture}; {size:,} bytes; mean difference to PyTorch {mean}/255")


@app.command()
def sample(
    model: Annotated[Path, typer.Option(help="A bundle's folder, like models/photo2monet.")],
    input: Annotated[Path, typer.Option(help="Folder of pictures, including its subfolders; or one picture.")],
    output: Annotated[Path, typer.Option(help="Where the translations go, as PNG.")],
    size: Annotated[int, typer.Option(min=8, help="Shorter side in pixels that larger pictures are shrunk to.")] = 512,
) -> None:
    """Translate a folder of pictures with a bundle."""
    for path in sample_folder(model, input, output, size):
        typer.echo(path)


@app.command("prepare")
def prepare_(
    input: Annotated[Path, typer.Option(help="Folder of collected pictures, including its subfolders.")],
    output: Annotated[Path, typer.Option(help="The domain's folder, named after what it shows, like data/photo.")],
    min_side: Annotated[int, typer.Option(min=8, help="Leave out pictures whose shorter side is smaller.")] = 256,
    test: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the pictures for evaluation, which are not trained on.")] = 0.1,
    distance: Annotated[int, typer.Option(min=0, max=32, help="Bits of 64 in which the hashes of duplicates may differ.")] = 4,
    keep_borders: Annotated[bool, typer.Option(help="Do not cut off scans' white borders.")] = False,
) -> None:
    """Make a domain from a folder: without duplicates, white borders and small pictures, split into train/ and test/."""
    prepared = prepare(input, output, min_side, test, distance, keep_borders)
    typer.echo(f"{prepared.kept.get('train', 0):6,} to train on")
    typer.echo(f"{prepared.kept.get('test', 0):6,} to evaluate with")
    typer.echo(f"{prepared.cropped:6,} with a border cut off")
    for reason, count in prepared.left_out.items():
        typer.echo(f"{count:6,} left out: {reason}")
    typer.echo(f"{prepared.report} lists what was done with each file; look through {prepared.contact_sheet}.")


@app.command("push")
def push_(
    model: Annotated[Path, typer.Option(help="A bundle's folder, like models/photo2monet.")],
    to: Annotated[str, typer.Option(help="hf://you/paintings, s3://bucket/models, or another address that fsspec can write to.")],
) -> None:
    """Share a bundle on the Hugging Face hub (after `hf auth login`), or on other storage."""
    push(model, to)
    typer.echo(f"{model.resolve().name} is at {to}")


@app.command("pull")
def pull_(
    source: Annotated[str, typer.Option("--from", help="hf://you/paintings, https://… or s3://…: a bundle, or a folder of bundles.")],
    models: Models = Path("models"),
) -> None:
    """Download shared bundles, and verify their checksums."""
    check_writable(models)
    for bundle in pull(source, models):
        typer.echo(f"{bundle.folder}: {bundle.version.architecture}")


def main() -> None:
    logging.basicConfig(format="%(message)s")
    try:
        app()
    except (BundleError, ConfigError, ExportError, NonFiniteLoss) as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:
        file = error.filename2 or error.filename or "a file"  # filename2: the destination of a copy
        raise SystemExit(f"error: {file}: {error.strerror or error}") from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise SystemExit(
            "error: memory is full: lower batch_size (and raise accumulate to make up for it), crop_size or load_size, "
            "or set cache=files; the same command resumes"
        ) from None


if __name__ == "__main__":
    main()
