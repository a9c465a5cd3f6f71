"""Exporting a generator as an ONNX graph, and comparing it with torch."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

from models import padding
from training.data import Pixels, from_bytes, to_bytes, to_pixels, to_tensor
from training.generators import Generator
from training.precision import Variant, variants
from training.tiling import MAX_DIFFERENCE, ExportError, check_tiling, to_tiling

OPSET = 18
"""For years, CUDA sessions ran the Pad of opset 19 and later on the CPU."""
MEAN_DIFFERENCE = 0.25
"""The largest allowed mean difference from torch, in steps of 1/255."""


@dataclass(frozen=True)
class Exported:
    """A generator's ONNX files, for pictures and for tiles, and their measured differences from torch."""

    generator: Generator
    onnx: bytes
    tiling: bytes
    parity: dict[str, float]
    variants: tuple[Variant, ...] = ()
    """Lower precisions that are close enough."""


class ByteGenerator(nn.Module):
    """Wraps a generator to translate (n, h, w, 3) RGB bytes, including the scaling to [-1, 1] and back."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, pictures: Tensor) -> Tensor:
        return to_bytes(self.generator(from_bytes(pictures)))


def to_onnx(generator: Generator) -> bytes:
    """Return the generator's ONNX file, with dynamic batch, height and width."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # warns that torchvision is missing, which is not needed
    multiple = generator.multiple
    example = torch.zeros((2, 2 * multiple, 3 * multiple, 3), dtype=torch.uint8)
    height, width = (multiple * torch.export.Dim(name) for name in ("height", "width"))
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: height, 2: width}
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # raised inside torch
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
    """Store the convolutions' weights as fp16. They are still computed in fp32: ONNX Runtime folds the Casts when it loads the file."""
    halved = onnx.load_from_string(model)
    graph, casts = halved.graph, []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 4:
            name = tensor.name
            with np.errstate(over="ignore"):  # overflows become infinite, and fail the parity check
                halves = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(halves, f"{name}.fp16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(halved, full_check=True)
    return halved.SerializeToString()


def check_parity(model: bytes, generator: Generator, pictures: list[Pixels]) -> dict[str, float]:
    """Return the largest and the mean difference between ONNX Runtime and torch, in steps of 1/255. Raises ExportError if it is too large.

    Besides the `pictures`, a batch of the upper half of the first one and its mirror image is tested. Pictures where even torch is not
    steady are left out, since instance norms amplify rounding errors in flat ones. If none remains, generated ones are used.
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

    measured = list(differences(inputs(pictures))) or list(differences(inputs(generated_pictures())))
    largest = float(max(difference.max() for difference in measured))
    mean = float(np.mean([difference.mean() for difference in measured]))
    if _too_large(largest, mean):
        raise ExportError(
            f"ONNX Runtime differs from torch by up to {largest:.0f}/255 (at most {MAX_DIFFERENCE} is allowed) "
            f"and by {mean:.3f}/255 on average (at most {MEAN_DIFFERENCE}): no bundle is written"
        )
    return {"max_difference": largest, "mean_difference": round(mean, 4)}


def _too_large(largest: float, mean: float) -> bool:
    return largest > MAX_DIFFERENCE or mean > MEAN_DIFFERENCE


def _is_steady(generator: Generator, batch: Pixels) -> bool:
    """Return whether noise of the size of rounding errors leaves the translation unchanged."""
    pictures = to_tensor(batch)
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = (to_pixels(generator(each)).astype(np.int16) for each in (pictures, pictures + 1e-6 * noise))
    return bool(np.abs(after - before).max() <= 1)


def generated_pictures() -> list[Pixels]:
    """Return smooth noise in a few sizes."""
    random = np.random.default_rng(0)
    noise = (random.integers(0, 256, (side, side, 3), np.uint8) for side in (4, 16, 64))
    sizes = ((256, 256), (320, 192), (128, 160))
    return [np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)) for pixels, size in zip(noise, sizes, strict=True)]


def export_checked(generator: Generator, pictures: list[Pixels], calibration: Sequence[Pixels] = ()) -> Exported:
    """Export the generator with fp16 weights, or fp32 weights if these are too coarse, and in lower precisions. Raises ExportError.
    The graphs are checked on `pictures`, and INT8 is calibrated on `calibration`, without flat pictures, which say nothing."""
    pictures = _not_flat(pictures) or generated_pictures()
    whole = to_onnx(generator)
    shipped = halve_weights(whole)
    try:
        parity = check_parity(shipped, generator, pictures)
    except ExportError:
        shipped, parity = whole, check_parity(whole, generator, pictures)
    calibration_batches, tests = (
        [padding.pad(p, generator.multiple, generator.smallest_side)[None] for p in part] for part in (_not_flat(calibration), pictures)
    )
    tiling = to_tiling(shipped)
    check_tiling(tiling, shipped, tests[0][0])
    return Exported(generator, shipped, tiling, parity, tuple(variants(whole, calibration_batches, tests)))


def _not_flat(pictures: Sequence[Pixels]) -> list[Pixels]:
    return [pixels for pixels in pictures if pixels.std() >= 1]
