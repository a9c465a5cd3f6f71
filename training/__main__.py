"""`python -m training train|evaluate|export|import|sample|prepare|push|pull`."""

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from models.bundle import Bundle, BundleError
from models.remote import pull, push
from training.config import ConfigError, load_config, own_preset, parse_settings
from training.data import paired_folders, train_folder
from training.devices import choose_device
from training.evaluation import Means, evaluate_bundle, evaluate_run
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


@app.callback()
def _commands() -> None:
    """Train CycleGAN on two folders of pictures, judge it, and export it."""


@app.command()
def train(
    run: Annotated[Path, typer.Option(help="The run's folder: checkpoints, losses and samples. Resumed where it exists.")],
    source: Annotated[Path | None, typer.Option(help="Folder of the source domain, with train/ and test/.")] = None,
    target: Annotated[Path | None, typer.Option(help="Folder of the target domain, with train/ and test/.")] = None,
    data: Annotated[Path | None, typer.Option(help="In place of both: a folder with trainA/ and trainB/, like horse2zebra.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="lite, medium, standard, paper, or a YAML file, like a run's config.yaml. Of a run that exists its own, else standard."
        ),
    ] = None,
    teacher: Annotated[Path | None, typer.Option(help="A bundle or a run of the same direction to learn from.")] = None,
    settings: Annotated[list[str], typer.Option("--set", help="Any field, like --set steps=20000.")] = [],  # noqa: B006
    force: Annotated[bool, typer.Option(help="Go on with other pictures or settings than the run was begun with.")] = False,
) -> None:
    """Train both directions. Stopped by Ctrl-C or a crash, the same command resumes, or `train --run RUN` alone."""
    if data and (source or target):
        raise ConfigError("--data names both folders: leave out --source and --target")
    folders = paired_folders(data) if data else {"source": source, "target": target}
    given = {name: path for name, path in (folders | {"teacher": teacher}).items() if path is not None}
    fields = parse_settings(settings)
    if twice := given.keys() & fields.keys():
        raise ConfigError(f"{', '.join(sorted(twice))}: given twice, as an option and by --set: leave one out")
    config = load_config(preset or own_preset(run), **given, **fields)
    for domain in (config.source, config.target):
        if train_folder(domain).resolve() in (run / SAMPLES).resolve().parents:  # where sheets would be taken for pictures
            raise ConfigError(f"--run {run} lies among the pictures of {domain}: name a folder elsewhere, like runs/{run.name}")
    with locked(run):
        Trainer(config, run, force).train()


@app.command()
def evaluate(
    run: Annotated[Path | None, typer.Option(help="A trained run's folder.")] = None,
    model: Annotated[Path | None, typer.Option(help="In its place a bundle's folder, like models/photo2monet.")] = None,
    source: Annotated[Path | None, typer.Option(help="Folder of the source domain; a run knows its own.")] = None,
    target: Annotated[Path | None, typer.Option(help="Folder of the target domain; a run knows its own.")] = None,
    best: Annotated[bool, typer.Option(help="A run's weights that were judged best (see evaluate_every), not the last.")] = False,
    beside: Annotated[Path | None, typer.Option(help="A bundle whose translations the sheet shows, too.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where figures and sheets go; if not given a run's into its folder, and a bundle's here.")
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Pictures of each folder to judge by, at most.")] = 100,
    features: Annotated[Path | None, typer.Option(help="VGG-19's weights, for a second opinion: torchvision's vgg19-dcbb9e9d.pth.")] = None,
    inception: Annotated[
        Path | None,
        typer.Option(
            help="For FID and its KID: an InceptionV3 as a TorchScript file, like NVIDIA's inception-2015-12-05.pt. "
            "FID wants thousands of pictures to be stable: mind --count."
        ),
    ] = None,
    lpips: Annotated[bool, typer.Option(help="LPIPS there and back, by AlexNet, which comes through torchvision.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Judge a run's directions, or a bundle, on test pictures: figures in evaluation.json, and a sheet to look at."""
    means = Means(count, features, inception, lpips, str(choose_device(device)))
    folder = output or run or Path()
    if run and not model:
        evaluation = evaluate_run(run, means, source=source, target=target, output=output, best=best, beside=beside)
    elif model and not run and source and target and not best:
        evaluation = evaluate_bundle(model, means, source, target, folder, beside)
    else:
        raise ConfigError("give --run, or --model with --source and --target")
    for direction, figures in evaluation["directions"].items():
        shown = Table("figure", title=f"{direction}: score {figures['score']:.3f}")
        for column in ("value", "floor", "base", "closed"):
            shown.add_column(column, justify="right")
        for row, cells in table(figures):
            shown.add_row(row.name, *cells)
        Console().print(shown)
        typer.echo(f"sheet: {folder / direction}.jpg")


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="A trained run's folder.")],
    models: Annotated[Path, typer.Option(help="Where the bundles go: a folder a direction.")] = Path("models"),
    pictures: Annotated[
        Path | None, typer.Option(help="Pictures for the model cards to show, each domain's in a folder of its name; mind their licence.")
    ] = None,
    source: Annotated[Path | None, typer.Option(help="Where the source domain's pictures are now, to check on.")] = None,
    target: Annotated[Path | None, typer.Option(help="Where the target domain's pictures are now.")] = None,
    best: Annotated[bool, typer.Option(help="The weights that were judged best (see evaluate_every), not the last.")] = False,
    weights: Annotated[Path | None, typer.Option(help="Also write latest_net_G_A.pth and the like there, for others' programs.")] = None,
    about: Annotated[str | None, typer.Option(help="For the cards: what the training pictures are, and whose.")] = None,
    licence: Annotated[str, typer.Option(help="For the cards: what may be done with the weights.")] = NO_LICENCE,
) -> None:
    """Write both directions of a run as bundles, checked against torch, each a new version."""
    if weights:
        check_writable(weights)
    for bundle in export_run(run, models, pictures, about, licence, source=source, target=target, best=best):
        _tell(bundle)
    if weights:
        for path in write_weights(run, weights, best):
            typer.echo(path)


@app.command("import")
def import_(
    generator: Annotated[Path, typer.Option(help="A file of weights that others saved, like latest_net_G.pth. Nothing in it is run.")],
    direction: Annotated[str, typer.Option(help="What it does, like horse2zebra.")],
    models: Annotated[Path, typer.Option(help="Where the bundle goes, in a folder named by the direction.")] = Path("models"),
    size: Annotated[int, typer.Option(min=8, help="Side in pixels of the crops that it was trained on.")] = 256,
    pictures: Annotated[
        Path | None, typer.Option(help="Pictures of the source domain to check it on and calibrate INT8, in place of generated ones.")
    ] = None,
    about: Annotated[str | None, typer.Option(help="For the card: what the training pictures are, and whose.")] = None,
    licence: Annotated[str, typer.Option(help="For the card: what may be done with the weights.")] = NO_LICENCE,
) -> None:
    """Write a generator that others trained as a bundle, checked against torch, a new version of its direction."""
    _tell(import_generator(generator, direction, models, size, pictures, about, licence))


def _tell(bundle: Bundle) -> None:
    size, mean = bundle.onnx.stat().st_size, bundle.version.evaluation["parity"]["mean_difference"]
    typer.echo(f"{bundle.onnx}: {bundle.version.architecture}; {size:,} bytes; differs from torch by {mean}/255 in the mean")


@app.command()
def sample(
    model: Annotated[Path, typer.Option(help="A bundle's folder, like models/photo2monet.")],
    input: Annotated[Path, typer.Option(help="Folder of pictures, searched with the folders in it; or one picture.")],
    output: Annotated[Path, typer.Option(help="Where the translations go, as PNG.")],
    size: Annotated[int, typer.Option(min=8, help="Shorter side in pixels that larger pictures are shrunk to.")] = 512,
) -> None:
    """Translate a folder of pictures with a bundle."""
    for path in sample_folder(model, input, output, size):
        typer.echo(path)


@app.command("prepare")
def prepare_(
    input: Annotated[Path, typer.Option(help="Folder of pictures as they were gathered; folders in it are searched too.")],
    output: Annotated[Path, typer.Option(help="The domain's folder, named by what it shows, like data/photo.")],
    min_side: Annotated[int, typer.Option(min=8, help="Pictures whose shorter side is less are left out.")] = 256,
    test: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the pictures to judge by, which training never sees.")] = 0.1,
    distance: Annotated[int, typer.Option(min=0, max=32, help="Bits of 64 in which the hashes of pictures that are alike may differ.")] = 4,
    keep_borders: Annotated[bool, typer.Option(help="Leave scans' white borders on.")] = False,
) -> None:
    """Make a domain of a folder: without duplicates, white borders and small pictures, split into train/ and test/."""
    made = prepare(input, output, min_side, test, distance, keep_borders)
    for count, what in ((made.kept.get("train", 0), "to train on"), (made.kept.get("test", 0), "to judge by"), (made.bordered, "cut")):
        typer.echo(f"{count:6,} {what}")
    for reason, count in made.left_out.items():
        typer.echo(f"{count:6,} left out: {reason}")
    typer.echo(f"Each file's fate is in {made.report}; look through {made.contact_sheet}.")


@app.command("push")
def push_(
    model: Annotated[Path, typer.Option(help="A bundle's folder, like models/photo2monet.")],
    to: Annotated[str, typer.Option(help="hf://you/paintings, s3://bucket/models, or another address that fsspec can write to.")],
) -> None:
    """Share a bundle: on the Hugging Face hub (after `hf auth login`), or on other storage."""
    push(model, to)
    typer.echo(f"{model.resolve().name} is at {to}")


@app.command("pull")
def pull_(
    source: Annotated[str, typer.Option("--from", help="hf://you/paintings, https://… or s3://…: a bundle, or a folder of bundles.")],
    models: Annotated[Path, typer.Option(help="Where the bundles go: a folder a direction.")] = Path("models"),
) -> None:
    """Fetch bundles that others shared, checked against their checksums."""
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
        file = error.filename2 or error.filename or "a file"  # of two that one is copied to
        raise SystemExit(f"error: {file}: {error.strerror or error}") from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise SystemExit(f"error: {OUT_OF_MEMORY}") from None


OUT_OF_MEMORY = (
    "memory is full: lower batch_size (and raise accumulate, which makes up for it), crop_size or load_size, "
    "or set cache=files; the same command resumes"
)


if __name__ == "__main__":
    main()
