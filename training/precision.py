"""Lower precisions of an exported graph: fp16 for CUDA, INT8 for CPUs with VNNI.

Input and output stay uint8. A graph is kept only if it is close enough to fp32.
"""

import logging
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from models.bundle import Precision
from models.processor import has_vnni
from training.data import Pixels

log = logging.getLogger(__name__)

CONVOLUTIONS = ("Conv", "ConvTranspose")
LARGEST: dict[Precision, float] = {"fp16": 1.0, "int8": 2.0}
"""The largest allowed difference from fp32, in steps of 1/255: the mean over the worst picture."""
MARGIN = 0.85
"""The share of that bound for choosing convolutions, since other pictures may differ more."""
TIMED_RUNS = 9
PROBES = 4
"""The number of pictures for measuring ranges and sensitivities of single convolutions."""
HALF_RANGE = 8.0
"""The largest value of each channel of an equalized convolution, far above the epsilon of instance normalization."""


@dataclass(frozen=True)
class Variant:
    """The graph in another precision, its differences from fp32 in steps of 1/255, and its speed relative to fp32 if measured."""

    precision: Precision
    onnx: bytes
    parity: dict[str, float]
    speedup: float | None = None


def variants(model: bytes, calibration: Sequence[Pixels], tests: Sequence[Pixels]) -> list[Variant]:
    """Return fp16 and INT8 graphs that are close enough to the fp32 `model` on `tests`. Logs a warning for one that is not.

    `tests` are pictures of both domains that are not used for calibration; without `calibration` there is no INT8. Pictures are
    (n, h, w, 3) bytes with sides that the model accepts.
    """
    expected = _translate(model, tests)
    graphs: list[tuple[Precision, bytes]] = [("fp16", halve(model))]
    if calibration:
        if quantised := _quantise_closely(model, calibration):
            graphs.append(("int8", quantised))
    else:
        log.warning("no INT8 graph: its calibration needs pictures of the domains, and there are none")
    kept = []
    for precision, graph in graphs:
        parity = _differences(_translate(graph, tests), expected)
        if parity["worst_picture"] <= LARGEST[precision]:
            speedup = measure_speedup(model, graph, tests[0]) if precision == "int8" and has_vnni() else None
            kept.append(Variant(precision, graph, parity, speedup))
        else:
            log.warning(
                "no %s graph: its mean difference from fp32 is %.2f/255 in the worst picture, more than %g",
                precision, parity["worst_picture"], LARGEST[precision],
            )  # fmt: skip
    return kept


def measure_speedup(model: bytes, quantised: bytes, picture: Pixels) -> float:
    """Return how many times as fast the quantized model is on this CPU, with one thread. The models alternate, since the load changes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(each, options, providers=["CPUExecutionProvider"]) for each in (model, quantised)]
    ratios = []
    for _ in range(1 + TIMED_RUNS):
        times = [time.perf_counter()]
        for session in sessions:
            session.run(None, {"pictures": picture})
            times.append(time.perf_counter())
        ratios.append((times[1] - times[0]) / (times[2] - times[1]))
    return round(median(ratios[1:]), 2)


def halve(model: bytes) -> bytes:
    """Convert the graph to fp16, except instance normalization and everything from the last convolution on."""
    whole = onnx.load_from_string(model)
    last = max(i for i, node in enumerate(whole.graph.node) if node.op_type in CONVOLUTIONS)
    pixels = [node.name for node in whole.graph.node[last:]]
    with np.errstate(all="ignore"):
        halved = convert_float_to_float16(whole, keep_io_types=True, op_block_list=["InstanceNormalization"], node_block_list=pixels)
    OnnxModel(halved).topological_sort()  # the Casts are at the end
    onnx.checker.check_model(halved, full_check=True)
    return halved.SerializeToString()


def quantise(model: bytes, calibration: Sequence[Pixels], convolutions: Sequence[str] | None = None) -> bytes:
    """Convert the named or all `quantisable` convolutions to INT8: static QDQ, with a scale for each channel of the weights.
    An activation's range is averaged over pictures, since the extremes of all pictures would be too coarse for most."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        logging.disable(logging.WARNING)  # recommends optimizations that ONNX Runtime does itself when it loads the file
        try:
            quantize_static(
                onnx.load_from_string(model), path, _Reader(calibration), quant_format=QuantFormat.QDQ, per_channel=True,
                op_types_to_quantize=["Conv"], nodes_to_quantize=convolutions or quantisable(model), activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8, extra_options={"CalibMovingAverage": True},
            )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
        return path.read_bytes()


def quantisable(model: bytes) -> list[str]:
    """Return the names of all convolutions except the last.

    For a 7×7 convolution in INT8, ONNX Runtime needs 49 bytes per channel and pixel (205 MB for 512×512 pixels with 16 channels) and
    gains hardly any speed.
    """
    nodes = [node for node in onnx.load_from_string(model).graph.node if node.op_type in CONVOLUTIONS]
    return [node.name for node in nodes[:-1] if node.op_type == "Conv"]


def equalise(model: bytes, pictures: Sequence[Pixels]) -> bytes:
    """Scale the convolutions before instance normalization so that all channels have the same range around zero.
    The normalization undoes this, so the result is the same, but one INT8 scale now fits all channels."""
    scaled = onnx.load_from_string(model)
    weights = {tensor.name: tensor for tensor in scaled.graph.initializer}
    normalized = {node.input[0] for node in scaled.graph.node if node.op_type == "InstanceNormalization"}
    nodes = [node for node in scaled.graph.node if node.op_type == "Conv" and node.output[0] in normalized and len(node.input) == 3]
    for node, (low, high) in zip(nodes, _channel_ranges(model, nodes, pictures), strict=True):
        scale = HALF_RANGE / np.maximum((high - low) / 2, 1e-3)
        kernel, bias = (weights[name] for name in node.input[1:])
        whole = numpy_helper.to_array(kernel) * scale[:, None, None, None]
        shifted = (numpy_helper.to_array(bias) - (high + low) / 2) * scale
        kernel.CopyFrom(numpy_helper.from_array(whole.astype(np.float32), kernel.name))
        bias.CopyFrom(numpy_helper.from_array(shifted.astype(np.float32), bias.name))
    return scaled.SerializeToString()


def _quantise_closely(model: bytes, calibration: Sequence[Pixels]) -> bytes | None:
    """Convert as many convolutions to INT8 as the bound allows; the most sensitive stay in fp32.

    Returns None if less than half could be converted, since little would be gained. Only calibration pictures are used for this, so
    that the tests remain independent.
    """
    probes, bound = calibration[:PROBES], MARGIN * LARGEST["int8"]
    model = equalise(model, probes)
    expected = _translate(model, calibration)

    def difference(graph: bytes, pictures: Sequence[Pixels] = calibration) -> float:
        return _differences(_translate(graph, pictures), expected[: len(pictures)])["worst_picture"]

    quantised = quantise(model, calibration)
    if difference(quantised) <= bound:
        return quantised
    names = quantisable(model)
    alone = {name: difference(quantise(model, probes, [name]), probes) for name in names}
    names.sort(key=alone.__getitem__)

    @cache
    def graph(count: int) -> bytes:
        return quantise(model, calibration, names[:count])

    counts = range(len(names) // 2, len(names))
    fitting = bisect_right(counts, False, key=lambda count: difference(graph(count)) > bound)
    if not fitting:
        log.warning("no INT8 graph: to stay within %g/255, more than half of the convolutions would have to stay in fp32", LARGEST["int8"])
        return None
    count = counts[fitting - 1]
    log.warning("INT8: %d of %d convolutions stay in fp32, since they are too sensitive", len(names) - count, len(names))
    return graph(count)


class _Reader(CalibrationDataReader):
    def __init__(self, pictures: Sequence[Pixels]) -> None:
        self._pictures: Iterator[Pixels] = iter(pictures)

    def get_next(self) -> dict[str, Pixels] | None:
        return next(({"pictures": picture} for picture in self._pictures), None)


def _channel_ranges(
    model: bytes, nodes: Sequence[NodeProto], pictures: Sequence[Pixels]
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return the smallest and the largest value of each channel of each node's output, (channels,) each."""
    probed = onnx.load_from_string(model)
    names = [node.output[0] for node in nodes]
    probed.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = _session(probed.SerializeToString())
    ranges: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    for picture in pictures:
        reached = [(values.min((0, 2, 3)), values.max((0, 2, 3))) for values in session.run(names, {"pictures": picture})]
        ranges = [(np.minimum(a, c), np.maximum(b, d)) for (a, b), (c, d) in zip(ranges or reached, reached, strict=True)]
    return ranges


def _session(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def _translate(model: bytes, pictures: Sequence[Pixels]) -> list[Pixels]:
    session = _session(model)
    return [session.run(None, {"pictures": picture})[0] for picture in pictures]


def _differences(got: Sequence[Pixels], expected: Sequence[Pixels]) -> dict[str, float]:
    """Return the largest difference of a pixel, and the mean and the largest of the pictures' mean differences."""
    differences = [np.abs(a.astype(np.int16) - b) for a, b in zip(got, expected, strict=True)]
    means = [float(difference.mean()) for difference in differences]
    return {
        "max_difference": float(max(difference.max() for difference in differences)),
        "mean_difference": round(float(np.mean(means)), 4),
        "worst_picture": round(max(means), 4),
    }
