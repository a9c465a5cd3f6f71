"""A trained generator to ONNX, checked against torch, and to a bundle with its card."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

from models import padding
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
from training.checkpoints import BEST, CHECKPOINT, existing_checkpoint, generators_of, with_folders
from training.config import ConfigError, TrainingConfig
from training.data import (
    Pixels,
    from_bytes,
    read_pictures,
    test_pictures,
    to_bytes,
    to_pixels,
    to_tensor,
    train_pictures,
)
from training.evaluation import EVALUATION
from training.files import check_writable
from training.generators import Generator
from training.logs import mean_losses, read_losses
from training.precision import Variant, variants
from training.records import records
from training.sheets import Shown, card_sheets, precision_sheet
from training.tiling import MAX_DIFFERENCE, ExportError, check_tiling, to_tiling
from training.triton import CONFIG, triton_config

log = logging.getLogger(__name__)

OPSET = 18
"""Pad of opset 19 and later ran on the CPU, even in CUDA sessions, for years."""
MEAN_DIFFERENCE = 0.25
PARITY_PICTURES = 16
CALIBRATION_PICTURES = 32
DEVICES: dict[Precision, Device] = {"fp32": "any", "fp16": "cuda", "int8": "cpu-vnni"}
NO_LICENCE = "None is stated for these weights."


@dataclass(frozen=True)
class Exported:
    """A generator's ONNX files, for pictures and for tiles, and how far from torch they were found."""

    generator: Generator
    onnx: bytes
    tiling: bytes
    parity: dict[str, float]
    variants: tuple[Variant, ...] = ()
    """The graph in lower precisions, where it is close enough."""


class ByteGenerator(nn.Module):
    """A generator as it is shipped: (n, h, w, 3) RGB bytes to the same, scaling to [-1, 1] and back included."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, pictures: Tensor) -> Tensor:
        return to_bytes(self.generator(from_bytes(pictures)))


def to_onnx(generator: Generator) -> bytes:
    """The generator's ONNX file: batch, height and width dynamic."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # says that torchvision is missing, which nothing needs
    multiple = generator.multiple
    example = torch.zeros((2, 2 * multiple, 3 * multiple, 3), dtype=torch.uint8)
    height, width = (multiple * torch.export.Dim(name) for name in ("height", "width"))
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: height, 2: width}
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of torch, about torch
        program = torch.onnx.export(
            ByteGenerator(generator).eval(), (example,), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=["pictures"], output_names=["translations"], dynamic_shapes=(dynamic,),
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in enumerate(("batch", "height", "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.value_info[:], model.graph.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def halve_weights(model: bytes) -> bytes:
    """The ONNX file with the convolutions' weights stored as fp16 and still computed in fp32: ONNX Runtime folds the Casts
    when it loads the file."""
    halved = onnx.load_from_string(model)
    graph, casts = halved.graph, []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 4:
            name = tensor.name
            with np.errstate(over="ignore"):  # what is too large is infinite, which no check of parity passes
                halves = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(halves, f"{name}.fp16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(halved, full_check=True)
    return halved.SerializeToString()


def check_parity(model: bytes, generator: Generator, pictures: list[Pixels]) -> dict[str, float]:
    """The largest and the mean difference in steps of 1/255 between ONNX Runtime and torch, over `pictures`,
    and over the upper half of the first as a batch with its mirror image. Raises ExportError where it is too large.

    A picture that torch itself does not translate twice alike is left out: on a flat one instance norms make much of
    rounding errors. Where no other is there, generated ones stand in.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    fits = generator.multiple, generator.smallest_side
    shipped = ByteGenerator(generator)

    def differences(inputs: list[Pixels]) -> Iterator[NDArray[np.int16]]:
        for batch in inputs:
            with torch.no_grad():
                expected = shipped(torch.tensor(batch)).numpy().astype(np.int16)
            (got,) = session.run(None, {"pictures": batch})
            difference = np.abs(got - expected)
            if not _too_large(difference.max(), difference.mean()) or _is_steady(generator, batch):
                yield difference

    def inputs(pictures: list[Pixels]) -> list[Pixels]:
        half = padding.pad(pictures[0][: (len(pictures[0]) + 1) // 2], *fits)
        return [*(padding.pad(pixels, *fits)[None] for pixels in pictures), np.stack([half, half[:, ::-1]])]

    found = list(differences(inputs(pictures))) or list(differences(inputs(generated_pictures())))
    largest = float(max(difference.max() for difference in found))
    mean = float(np.mean([difference.mean() for difference in found]))
    if _too_large(largest, mean):
        raise ExportError(
            f"ONNX Runtime differs from torch by up to {largest:.0f}/255 (at most {MAX_DIFFERENCE} is allowed) "
            f"and {mean:.3f}/255 in the mean (at most {MEAN_DIFFERENCE}): no bundle is written"
        )
    return {"max_difference": largest, "mean_difference": round(mean, 4)}


def _too_large(largest: float, mean: float) -> bool:
    return largest > MAX_DIFFERENCE or mean > MEAN_DIFFERENCE


def _is_steady(generator: Generator, batch: Pixels) -> bool:
    """Whether noise of the size of rounding errors leaves the translation as it is."""
    pictures = to_tensor(batch)
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = (to_pixels(generator(each)).astype(np.int16) for each in (pictures, pictures + 1e-6 * noise))
    return bool(np.abs(after - before).max() <= 1)


def generated_pictures() -> list[Pixels]:
    """Smooth noise of a few sizes."""
    random = np.random.default_rng(0)
    noise = (random.integers(0, 256, (side, side, 3), np.uint8) for side in (4, 16, 64))
    sizes = ((256, 256), (320, 192), (128, 160))
    return [np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)) for pixels, size in zip(noise, sizes, strict=True)]


def export_checked(generator: Generator, pictures: list[Pixels], calibration: Sequence[Pixels] = ()) -> Exported:
    """The generator as ONNX, checked on `pictures`: with halved weights, or where they are too coarse, with whole ones; and in
    lower precisions, INT8 calibrated on other pictures, where there are any. Flat pictures say nothing and
    are left out. Raises ExportError."""
    pictures = _not_flat(pictures) or generated_pictures()
    whole = to_onnx(generator)
    shipped = halve_weights(whole)
    try:
        parity = check_parity(shipped, generator, pictures)
    except ExportError:
        shipped, parity = whole, check_parity(whole, generator, pictures)
    fitted, tests = (
        [padding.pad(p, generator.multiple, generator.smallest_side)[None] for p in part] for part in (_not_flat(calibration), pictures)
    )
    tiling = to_tiling(shipped)
    check_tiling(tiling, shipped, tests[0][0])
    return Exported(generator, shipped, tiling, parity, tuple(variants(whole, fitted, tests)))


def _not_flat(pictures: Sequence[Pixels]) -> list[Pixels]:
    return [pixels for pixels in pictures if pixels.std() >= 1]


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
    trained, generators, _ = generators_of(checkpoint)
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
    evaluation: dict, shown: Shown | None = None,
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
    step, data = checkpoint["step"], checkpoint["data"]
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
        evaluation = json.loads((run / EVALUATION).read_text())
    return evaluation["directions"].get(direction, {}) if evaluation and evaluation["steps"] == checkpoint["step"] else {}
