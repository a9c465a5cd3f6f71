"""An exported graph in lower precisions: fp16 for CUDA, INT8 for CPUs with VNNI.

Each keeps uint8 pictures in and out, and is kept only where it is close enough to fp32.
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
"""How far from fp32 in the mean over a picture, in steps of 1/255, a graph may be to be shipped: in the worst picture of all."""
MARGIN = 0.85
"""Of that bound, what convolutions are chosen by: pictures not seen may differ more."""
TIMED_RUNS = 9
PROBES = 4
"""Pictures that ranges and sensitivities of single convolutions are taken from."""
HALF_RANGE = 8.0
"""What each channel of an equalised convolution reaches: far above the epsilon of instance normalization."""


@dataclass(frozen=True)
class Variant:
    """The graph in another precision, its difference from fp32 in steps of 1/255, and where it was measured, how many times as fast
    as fp32 it is."""

    precision: Precision
    onnx: bytes
    parity: dict[str, float]
    speedup: float | None = None


def variants(model: bytes, calibration: Sequence[Pixels], tests: Sequence[Pixels]) -> list[Variant]:
    """What of fp16 and INT8 is close enough to the fp32 `model` on `tests`; why one is not is logged.

    Tests are pictures that INT8 is not calibrated on, of both domains, since people send paintings to be painted, too; without
    `calibration` it is left out. Pictures are (n, h, w, 3) bytes of sides that the model takes.
    """
    expected = _translate(model, tests)
    graphs: list[tuple[Precision, bytes]] = [("fp16", halve(model))]
    if calibration:
        if quantised := _quantise_closely(model, calibration):
            graphs.append(("int8", quantised))
    else:
        log.warning("no INT8 graph: it is calibrated on pictures of the domains, and none were given")
    kept = []
    for precision, graph in graphs:
        parity = _differences(_translate(graph, tests), expected)
        if parity["worst_picture"] <= LARGEST[precision]:
            speedup = measure_speedup(model, graph, tests[0]) if precision == "int8" and has_vnni() else None
            kept.append(Variant(precision, graph, parity, speedup))
        else:
            log.warning(
                "no %s graph: it differs from fp32 by %.2f/255 in the mean over the worst picture, more than %g",
                precision, parity["worst_picture"], LARGEST[precision],
            )  # fmt: skip
    return kept


def measure_speedup(model: bytes, quantised: bytes, picture: Pixels) -> float:
    """Times as fast on this CPU, with one thread, on `picture`, (n, h, w, 3); both run in turns, since what else the machine does
    changes."""
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
    """The graph computed in fp16; instance normalization, and the last convolution with what follows it, in fp32."""
    whole = onnx.load_from_string(model)
    last = max(i for i, node in enumerate(whole.graph.node) if node.op_type in CONVOLUTIONS)
    pixels = [node.name for node in whole.graph.node[last:]]
    with np.errstate(all="ignore"):
        halved = convert_float_to_float16(whole, keep_io_types=True, op_block_list=["InstanceNormalization"], node_block_list=pixels)
    OnnxModel(halved).topological_sort()  # the Casts come last
    onnx.checker.check_model(halved, full_check=True)
    return halved.SerializeToString()


def quantise(model: bytes, calibration: Sequence[Pixels], convolutions: Sequence[str] | None = None) -> bytes:
    """The graph with its convolutions in INT8, those named or all `quantisable`: static QDQ, weights by channel.

    An activation's range is the mean of what single pictures reach: the extremes of all would be too coarse for most.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        logging.disable(logging.WARNING)  # which recommends optimizations that ONNX Runtime makes when it loads the file
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
    """The names of all convolutions but the last: for a 7×7 one in INT8 ONNX Runtime lays out 49 bytes a channel and pixel, 205 MB
    for 512×512 pixels of 16 channels, and gains hardly any speed."""
    nodes = [node for node in onnx.load_from_string(model).graph.node if node.op_type in CONVOLUTIONS]
    return [node.name for node in nodes[:-1] if node.op_type == "Conv"]


def equalise(model: bytes, pictures: Sequence[Pixels]) -> bytes:
    """The same graph with each convolution that instance normalization follows giving channels of one range about zero.

    Normalization undoes it, so nothing changes but that one scale for all channels then suits each.
    """
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
    """With as many convolutions in INT8 as keep the difference well within its bound; the most sensitive stay in fp32. None where
    that would be most of them, since little would be gained.

    They are found on pictures that it is calibrated on, so that the tests remain a judgement of pictures not seen.
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
        log.warning("no INT8 graph: more than half of the convolutions would have to stay in fp32 to stay within %g/255", LARGEST["int8"])
        return None
    count = counts[fitting - 1]
    log.warning("INT8: %d of %d convolutions stay in fp32, which INT8 would take too far", len(names) - count, len(names))
    return graph(count)


class _Reader(CalibrationDataReader):
    def __init__(self, pictures: Sequence[Pixels]) -> None:
        self._pictures: Iterator[Pixels] = iter(pictures)

    def get_next(self) -> dict[str, Pixels] | None:
        return next(({"pictures": picture} for picture in self._pictures), None)


def _channel_ranges(
    model: bytes, nodes: Sequence[NodeProto], pictures: Sequence[Pixels]
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """The least and the largest value of each channel of each node's output, (channels,) each."""
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
    """The largest of a pixel, and of a picture's mean the mean and the largest."""
    differences = [np.abs(a.astype(np.int16) - b) for a, b in zip(got, expected, strict=True)]
    means = [float(difference.mean()) for difference in differences]
    return {
        "max_difference": float(max(difference.max() for difference in differences)),
        "mean_difference": round(float(np.mean(means)), 4),
        "worst_picture": round(max(means), 4),
    }
