"""A trained generator to ONNX, checked against torch, and to a bundle with its card."""

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
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
from training.checkpoints import load_generators
from training.config import TrainingConfig
from training.data import Pixels, from_bytes, list_pictures, read_pictures, test_folder, to_bytes, train_folder
from training.evaluation import EVALUATION
from training.generators import Generator
from training.logs import mean_losses, read_losses
from training.precision import Variant, variants
from training.sheets import card_sheet, precision_sheet
from training.tiling import MAX_DIFFERENCE, ExportError, check_tiling, to_tiling
from training.triton import CONFIG, triton_config

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
    and over the upper half of the first as a batch with its mirror image. Raises ExportError where it is too large."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    fits = generator.multiple, generator.smallest_side
    inputs = [padding.pad(pixels, *fits)[None] for pixels in pictures]
    half = padding.pad(pictures[0][: len(pictures[0]) // 2], *fits)
    inputs.append(np.stack([half, half[:, ::-1]]))
    differences = []
    for batch in inputs:
        with torch.no_grad():
            expected = ByteGenerator(generator)(torch.tensor(batch)).numpy()
        (got,) = session.run(None, {"pictures": batch})
        differences.append(np.abs(got.astype(np.int16) - expected.astype(np.int16)))
    largest = float(max(difference.max() for difference in differences))
    mean = float(np.mean([difference.mean() for difference in differences]))
    if largest > MAX_DIFFERENCE or mean > MEAN_DIFFERENCE:
        raise ExportError(
            f"ONNX Runtime differs from torch by up to {largest:.0f}/255 (at most {MAX_DIFFERENCE} is allowed) "
            f"and {mean:.3f}/255 in the mean (at most {MEAN_DIFFERENCE}): no bundle is written"
        )
    return {"max_difference": largest, "mean_difference": round(mean, 4)}


def export_checked(generator: Generator, pictures: list[Pixels], calibration: Sequence[Pixels] = ()) -> Exported:
    """The generator as ONNX, checked on `pictures`: with halved weights, or where they are too coarse, with whole ones; and in
    lower precisions, INT8 calibrated on pictures of the source domain, where there are any. Raises ExportError."""
    whole = to_onnx(generator)
    shipped = halve_weights(whole)
    try:
        parity = check_parity(shipped, generator, pictures)
    except ExportError:
        shipped, parity = whole, check_parity(whole, generator, pictures)
    fitted, tests = ([padding.pad(p, generator.multiple, generator.smallest_side)[None] for p in part] for part in (calibration, pictures))
    tiling = to_tiling(shipped)
    check_tiling(tiling, shipped, tests[0][0])
    return Exported(generator, shipped, tiling, parity, tuple(variants(whole, fitted, tests)))


def export_run(run: Path, models: Path, pictures: Path | None = None, about: str | None = None, licence: str = NO_LICENCE) -> list[Bundle]:
    """Both directions of a run as bundles in `models`, both checked before either is written.

    Their cards show `pictures`, where a folder is given, and tell `about` the training pictures and the weights'
    `licence`. Raises ExportError, ConfigError.
    """
    config, generators, step = load_generators(run)
    exported = []
    for name, source in (("G", config.source), ("F", config.target)):
        tests = read_pictures(list_pictures(test_folder(source))[:PARITY_PICTURES], config.load_size[1])
        training = list_pictures(train_folder(source))
        calibration = read_pictures(training[:: max(1, len(training) // CALIBRATION_PICTURES)][:CALIBRATION_PICTURES], config.load_size[1])
        exported.append(export_checked(generators[name], tests, calibration))

    told = _training(config, run, step, about)
    shown = read_pictures(list_pictures(pictures)) if pictures else []
    sheet = card_sheet(generators, shown) if pictures else None
    x, y = config.source_domain, config.target_domain
    return [
        write_bundle(
            models, source, target, generator, licence=licence, trained_size=config.crop_size, training=told,
            evaluation=_evaluation(run, f"{source}2{target}", step), sheet=sheet, shown=shown,
        )
        for (source, target), generator in zip(((x, y), (y, x)), exported, strict=True)
    ]  # fmt: skip


def write_bundle(
    models: Path, source: str, target: str, exported: Exported, *, licence: str, trained_size: int, training: dict,
    evaluation: dict, sheet: bytes | None = None, shown: Sequence[Pixels] = (),
) -> Bundle:  # fmt: skip
    """One more version of the bundle that leads from domain `source` to `target`, with its card, which shows the `sheet`, and
    what INT8 makes of the pictures `shown`."""
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
    pair = precision_sheet(exported.onnx, int8, shown[:2]) if int8 and shown else None
    beside = {name: picture for name, picture in ((SAMPLES, sheet), (INT8_SAMPLES, pair)) if picture is not None}
    card = model_card(manifest, has_samples=sheet is not None, has_int8_samples=pair is not None)
    return write_version(models / direction, manifest, contents, beside | {CARD: card.encode(), CONFIG: triton_config(manifest).encode()})


def _file(path: str, precision: Precision, content: bytes, purpose: Purpose = "pictures", speedup: float | None = None) -> ModelFile:
    return ModelFile(path=path, precision=precision, device=DEVICES[precision], sha256=sha256_of(content), purpose=purpose, speedup=speedup)


def _training(config: TrainingConfig, run: Path, step: int, about: str | None) -> dict:
    """What the manifest tells of a run; folders are named, but not where they are."""
    domains = {config.source_domain: config.source, config.target_domain: config.target}
    fields = config.model_dump(mode="json") | dict(zip(("source", "target"), domains, strict=True))
    fields |= {name: path.resolve().name for name in ("teacher", "start") if (path := getattr(config, name))}
    losses = read_losses(run)
    last = mean_losses([line for line in losses if line["step"] > step - 1000]) if losses else {}
    first = mean_losses([line for line in losses if line["step"] <= 1000]) if losses else {}
    return {
        "steps": step,
        "about": about,
        "pictures": {name: len(list_pictures(train_folder(folder))) for name, folder in domains.items()},
        "losses_first_1000_steps": {name: round(value, 4) for name, value in first.items()},
        "losses_last_1000_steps": {name: round(value, 4) for name, value in last.items()},
        "config": fields,
    }


def _evaluation(run: Path, direction: str, step: int) -> dict:
    """The figures that `evaluate` left in the run, where they are of this very checkpoint."""
    path = run / EVALUATION
    if not path.exists():
        return {}
    evaluation = json.loads(path.read_text())
    return evaluation["directions"][direction] if evaluation["steps"] == step else {}
