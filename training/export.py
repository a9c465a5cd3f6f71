"""A run's generators to bundles with their cards."""

import json
import logging
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from models.bundle import (
    CARD,
    ONNX,
    TILING,
    Bundle,
    Device,
    Manifest,
    ModelFile,
    Precision,
    Purpose,
    Version,
    next_version,
    sha256_of,
    write_version,
)
from training.card import INT8_SAMPLES, SAMPLES, model_card
from training.checkpoints import BEST, CHECKPOINT, existing_checkpoint, make_generators, with_folders
from training.config import ConfigError, TrainingConfig
from training.data import Pixels, read_pictures, test_pictures, train_pictures
from training.evaluation import EVALUATION
from training.files import check_writable
from training.graph import Exported, export_checked
from training.logs import mean_losses, read_losses
from training.records import records
from training.sheets import CardSheet, card_sheets, precision_sheet
from training.triton import CONFIG, triton_config

log = logging.getLogger(__name__)

PARITY_PICTURES = 16
CALIBRATION_PICTURES = 32
DEVICES: dict[Precision, Device] = {"fp32": "any", "fp16": "cuda", "int8": "cpu-vnni"}
NO_LICENCE = "None is stated for these weights."


def export_run(
    run: Path, models: Path, pictures: Path | None = None, about: str | None = None, licence: str = NO_LICENCE, *,
    source: Path | None = None, target: Path | None = None, best: bool = False,
) -> list[Bundle]:  # fmt: skip
    """Both directions of a run as bundles in `models`, both checked before either is written.

    They are checked on the pictures of the run's domains, or of `source` and `target` where they lie elsewhere now, or on
    generated ones, without INT8, where they are not there. Their cards show `pictures`, where a folder is given, and tell
    `about` the training pictures and the weights' `licence`. Raises ExportError, ConfigError, BundleError.
    """
    checkpoint = existing_checkpoint(run, BEST if best else CHECKPOINT)
    trained, generators, _ = make_generators(checkpoint)
    config = with_folders(trained, source, target)
    check_bundles(models, config.direction, config.inverse)
    x, y = config.source_domain, config.target_domain
    sheets = card_sheets(generators["G"], generators["F"], pictures, x, y) if pictures else {}
    side = config.load_size[1]
    of_x, of_y = (_pictures(folder, side, f"--{option}") for option, folder in (("source", config.source), ("target", config.target)))
    exported = [
        export_checked(generators[name], own.tests + other.tests, own.calibration and _in_turns(own.calibration, other.calibration))
        for name, own, other in (("G", of_x, of_y), ("F", of_y, of_x))
    ]

    told = _training(config, checkpoint, run, about)
    directions = ((x, y), (y, x))
    return [
        write_bundle(
            models, source_domain, target_domain, generator, licence=licence, trained_size=config.crop_size, training=told,
            evaluation=_evaluation(run, checkpoint, direction), shown=sheets.get(direction),
        )
        for (source_domain, target_domain), generator in zip(directions, exported, strict=True)
        if (direction := f"{source_domain}2{target_domain}")
    ]  # fmt: skip


def check_bundles(models: Path, *directions: str) -> None:
    """Raises ConfigError where bundles of the directions cannot be written in `models`, and BundleError where there are some that
    cannot be read: before the work."""
    for direction in directions:
        check_writable(models / direction)
        next_version(models / direction)


class _Pictures(NamedTuple):
    """Of a domain: to check on, and to calibrate INT8 on."""

    tests: list[Pixels]
    calibration: list[Pixels]


def _pictures(domain: Path, shorter_side: int, option: str) -> _Pictures:
    """Of a domain's test and of its training pictures, evenly spread; none where there are none."""
    try:
        training = train_pictures(domain)
        tests = read_pictures(test_pictures(domain)[:PARITY_PICTURES], shorter_side)
        spread = training[:: max(1, len(training) // CALIBRATION_PICTURES)][:CALIBRATION_PICTURES]
        return _Pictures(tests, read_pictures(spread, shorter_side))
    except ConfigError as error:
        log.warning("%s: checked on generated pictures, and without INT8; name the pictures' folder with %s", error, option)
        return _Pictures([], [])


def _in_turns(own: list[Pixels], other: list[Pixels]) -> list[Pixels]:
    """Pictures of both domains, so that the first few are of both, too."""
    return [pixels for pair in zip_longest(own, other) for pixels in pair if pixels is not None]


def write_bundle(
    models: Path, source: str, target: str, exported: Exported, *, licence: str, trained_size: int, training: dict,
    evaluation: dict, shown: CardSheet | None = None,
) -> Bundle:  # fmt: skip
    """One more version of the bundle that leads from domain `source` to `target`, with its card, which has the sheet that is
    `shown`, and what INT8 makes of its pictures."""
    direction, generator = f"{source}2{target}", exported.generator
    number = next_version(models / direction)
    contents = [exported.onnx, exported.tiling, *(variant.onnx for variant in exported.variants)]
    files = [_file(f"{number}/{ONNX}", "fp32", exported.onnx), _file(f"{number}/{TILING}", "fp32", exported.tiling, "tiles")]
    files += [
        _file(f"{number}/{variant.precision}.onnx", variant.precision, variant.onnx, speedup=variant.speedup)
        for variant in exported.variants
    ]
    version = Version(
        version=number,
        architecture=generator.architecture,
        trained_size=trained_size,
        multiple=generator.multiple,
        smallest_side=generator.smallest_side,
        files=tuple(files),
        training=training,
        evaluation=evaluation | {"parity": exported.parity | {variant.precision: variant.parity for variant in exported.variants}},
    )
    manifest = Manifest(
        direction=direction, source=source, target=target, inverse=f"{target}2{source}", licence=licence, versions=(version,)
    )
    int8 = next((variant.onnx for variant in exported.variants if variant.precision == "int8"), None)
    pair = precision_sheet(exported.onnx, int8, shown.pictures[:2]) if int8 and shown else None
    beside = {name: picture for name, picture in ((SAMPLES, shown and shown.sheet), (INT8_SAMPLES, pair)) if picture is not None}
    card = model_card(manifest, shown and shown.direction, has_int8_samples=pair is not None)
    return write_version(models / direction, manifest, contents, beside | {CARD: card.encode(), CONFIG: triton_config(manifest).encode()})


def _file(path: str, precision: Precision, content: bytes, purpose: Purpose = "pictures", speedup: float | None = None) -> ModelFile:
    return ModelFile(path=path, precision=precision, device=DEVICES[precision], sha256=sha256_of(content), purpose=purpose, speedup=speedup)


def _training(config: TrainingConfig, checkpoint: dict[str, Any], run: Path, about: str | None) -> dict:
    """What the manifest tells of a run; folders are named, but not where they are."""
    step, data = checkpoint["step"], checkpoint.get("data", {})
    fields = config.model_dump(mode="json") | {"source": config.source_domain, "target": config.target_domain}
    fields |= {name: Path(fields[name]).name for name in ("teacher", "start", "features") if fields.get(name)}
    losses = read_losses(run)
    last = mean_losses([line for line in losses if line["step"] > step - 1000])
    first = mean_losses([line for line in losses if line["step"] <= 1000])
    return {
        "steps": step,
        "about": about,
        "pictures": {name: known["pictures"] for name, known in data.items()},
        "data_sha256": {name: known["sha256"] for name, known in data.items()},
        "losses_first_1000_steps": {name: round(value, 4) for name, value in first.items()},
        "losses_last_1000_steps": {name: round(value, 4) for name, value in last.items()},
        "config": fields,
        "records": {"train": checkpoint.get("records"), "export": records()},
    }


def _evaluation(run: Path, checkpoint: dict[str, Any], direction: str) -> dict:
    """The figures that `evaluate` left in the run, or training with the best weights, where they are of this very checkpoint."""
    evaluation = checkpoint.get("evaluation")
    if evaluation is None and (run / EVALUATION).exists():
        try:
            evaluation = json.loads((run / EVALUATION).read_text())
        except ValueError:
            log.warning("%s is damaged: evaluate makes it anew, and without it cards have no figures", run / EVALUATION)
    return evaluation["directions"].get(direction, {}) if evaluation and evaluation["steps"] == checkpoint["step"] else {}
