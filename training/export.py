"""Exporting a run's generators as bundles with model cards."""

import json
import logging
from itertools import zip_longest
from pathlib import Path
from typing import Any

from models import bundle as bundles
from models.bundle import Bundle, Device, ModelFile, Precision, Purpose
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
    """Write both directions of a run as bundles in `models`. Both are checked before either is written.

    The checks use the pictures of the run's domains, or of `source` and `target` if these have moved; if they do not exist, generated
    pictures are used and there is no INT8. The cards show `pictures`, and state `about` and `licence`. Raises ExportError, ConfigError,
    BundleError.
    """
    checkpoint = existing_checkpoint(run, BEST if best else CHECKPOINT)
    trained, generators, _ = make_generators(checkpoint)
    config = with_folders(trained, source, target)
    check_bundles(models, config.direction, config.inverse)
    x, y = config.source_domain, config.target_domain
    sheets = card_sheets(generators["G"], generators["F"], pictures, x, y) if pictures else {}
    side = config.load_size[1]
    tests_x, calibration_x = _read_pictures(config.source, side, "--source")
    tests_y, calibration_y = _read_pictures(config.target, side, "--target")
    g = export_checked(generators["G"], tests_x + tests_y, calibration_x and _interleave(calibration_x, calibration_y))
    f = export_checked(generators["F"], tests_y + tests_x, calibration_y and _interleave(calibration_y, calibration_x))
    training = _training_record(config, checkpoint, run, about)
    return [
        write_bundle(
            models, source_domain, target_domain, exported, licence=licence, trained_size=config.crop_size, training=training,
            evaluation=_evaluation(run, checkpoint, direction), sheet=sheets.get(direction),
        )
        for direction, source_domain, target_domain, exported in ((config.direction, x, y, g), (config.inverse, y, x, f))
    ]  # fmt: skip


def check_bundles(models: Path, *directions: str) -> None:
    """Raise ConfigError if bundles of the directions cannot be written in `models`, and BundleError if existing ones cannot be read."""
    for direction in directions:
        check_writable(models / direction)
        bundles.next_version(models / direction)


def _read_pictures(domain: Path, shorter_side: int, option: str) -> tuple[list[Pixels], list[Pixels]]:
    """Return test pictures for the checks, and training pictures for calibration; none, with a warning, if the folder has none."""
    try:
        training = train_pictures(domain)
        tests = read_pictures(test_pictures(domain)[:PARITY_PICTURES], shorter_side)
        spread = training[:: max(1, len(training) // CALIBRATION_PICTURES)][:CALIBRATION_PICTURES]
        return tests, read_pictures(spread, shorter_side)
    except ConfigError as error:
        log.warning("%s: using generated pictures for the checks, and no INT8; name the folder of the pictures with %s", error, option)
        return [], []


def _interleave(own: list[Pixels], other: list[Pixels]) -> list[Pixels]:
    """Alternate pictures of both domains, so that the first few contain both."""
    return [pixels for pair in zip_longest(own, other) for pixels in pair if pixels is not None]


def write_bundle(
    models: Path, source: str, target: str, exported: Exported, *, licence: str, trained_size: int, training: dict,
    evaluation: dict, sheet: CardSheet | None = None,
) -> Bundle:  # fmt: skip
    """Write a new version of the bundle that translates domain `source` into `target`, with its card.
    The card shows the `sheet`, and INT8 translations of its pictures."""
    direction, generator = f"{source}2{target}", exported.generator
    number = bundles.next_version(models / direction)
    files = [
        _file(f"{number}/{bundles.ONNX}", "fp32", exported.onnx),
        _file(f"{number}/{bundles.TILING}", "fp32", exported.tiling, "tiles"),
    ]
    files += [_file(f"{number}/{each.precision}.onnx", each.precision, each.onnx, speedup=each.speedup) for each in exported.variants]
    contents = [exported.onnx, exported.tiling, *(variant.onnx for variant in exported.variants)]
    version = bundles.Version(
        version=number,
        architecture=generator.architecture,
        trained_size=trained_size,
        multiple=generator.multiple,
        smallest_side=generator.smallest_side,
        files=tuple(files),
        training=training,
        evaluation=evaluation | {"parity": exported.parity | {variant.precision: variant.parity for variant in exported.variants}},
    )
    manifest = bundles.Manifest(
        direction=direction, source=source, target=target, inverse=f"{target}2{source}", licence=licence, versions=(version,)
    )
    int8 = next((variant.onnx for variant in exported.variants if variant.precision == "int8"), None)
    others = {SAMPLES: sheet.sheet} if sheet else {}
    if int8 and sheet:
        others[INT8_SAMPLES] = precision_sheet(exported.onnx, int8, sheet.pictures[:2])
    card = model_card(manifest, sheet and sheet.direction, has_int8_samples=INT8_SAMPLES in others)
    return bundles.write_version(
        models / direction, manifest, contents, others | {bundles.CARD: card.encode(), CONFIG: triton_config(manifest).encode()}
    )


def _file(path: str, precision: Precision, content: bytes, purpose: Purpose = "pictures", speedup: float | None = None) -> ModelFile:
    return ModelFile(
        path=path, precision=precision, device=DEVICES[precision], sha256=bundles.sha256_of(content), purpose=purpose, speedup=speedup
    )


def _training_record(config: TrainingConfig, checkpoint: dict[str, Any], run: Path, about: str | None) -> dict:
    """Return the manifest's record of the training. It contains names of folders, but no paths."""
    step, data = checkpoint["step"], checkpoint.get("data", {})
    fields = config.model_dump(mode="json") | {"source": config.source_domain, "target": config.target_domain}
    fields |= {name: Path(fields[name]).name for name in ("teacher", "start", "features") if fields.get(name)}
    losses = read_losses(run)
    last = mean_losses([line for line in losses if line["step"] > step - 1000])
    first = mean_losses([line for line in losses if line["step"] <= 1000])
    return {
        "steps": step,
        "about": about,
        "pictures": {name: domain["pictures"] for name, domain in data.items()},
        "data_sha256": {name: domain["sha256"] for name, domain in data.items()},
        "losses_first_1000_steps": {name: round(value, 4) for name, value in first.items()},
        "losses_last_1000_steps": {name: round(value, 4) for name, value in last.items()},
        "config": fields,
        "records": {"train": checkpoint.get("records"), "export": records()},
    }


def _evaluation(run: Path, checkpoint: dict[str, Any], direction: str) -> dict:
    """Return the figures in the checkpoint or in the run's evaluation.json, if they belong to this step of the run."""
    evaluation = checkpoint.get("evaluation")
    if evaluation is None and (run / EVALUATION).exists():
        try:
            evaluation = json.loads((run / EVALUATION).read_text())
        except ValueError:
            log.warning("%s is damaged, so the cards have no figures: run evaluate again", run / EVALUATION)
    return evaluation["directions"].get(direction, {}) if evaluation and evaluation["steps"] == checkpoint["step"] else {}
