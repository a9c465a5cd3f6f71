"""The ONNX graph for tiles of a picture that is too large to be translated at once.

Instance norms use the statistics of their input, so each tile would get other colors. In this graph the statistics are an input: they
come from a thumbnail of the whole picture (Chen et al., "Towards Ultra-Resolution Neural Style Transfer via Thumbnail Instance
Normalization", AAAI 2022).
"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, inliner, numpy_helper, parser

from training.data import Pixels

MAX_DIFFERENCE = 2
"""The largest allowed difference, in steps of 1/255."""


class ExportError(RuntimeError):
    """An exported graph differs from the generator in torch. No bundle is written."""


NORM = parser.parse_function("""
<domain: "cyclegan", opset_import: ["" : 18]>
TileNorm <epsilon> (x, scale, bias, given) => (normal, used)
{
    area = Constant <value_ints = [2, 3]> ()
    across = Constant <value_ints = [1, 2]> ()
    margin = Constant <value_float: float = @epsilon> ()
    own_mean = ReduceMean (x, area)
    own_centred = Sub (x, own_mean)
    own_squares = Mul (own_centred, own_centred)
    own_variance = ReduceMean (own_squares, area)
    own = Concat <axis = 1> (own_mean, own_variance)
    own_row = Squeeze (own, area)
    is_not_given = IsNaN (given)
    used = Where (is_not_given, own_row, given)
    maps = Unsqueeze (used, area)
    mean, variance = Split <axis = 1, num_outputs = 2> (maps)
    centred = Sub (x, mean)
    above_zero = Add (variance, margin)
    deviation = Sqrt (above_zero)
    whitened = Div (centred, deviation)
    scales = Unsqueeze (scale, across)
    biases = Unsqueeze (bias, across)
    scaled = Mul (whitened, scales)
    normal = Add (scaled, biases)
}""")
"""InstanceNormalization with statistics as input, float32 (n, 2 × channels): means, then variances. NaN stands for the input's own."""


def to_tiling(model: bytes) -> bytes:
    """Add an input `statistics` and an output `used_statistics` to the graph: float32 (n, s), for all instance norms together.
    With rows of NaN, the result is that of `model`. For tiles, pass the `used_statistics` of the picture's thumbnail."""
    tiling = onnx.load_from_string(model)
    graph = tiling.graph
    channels = {tensor.name: tensor.dims[0] for tensor in graph.initializer if tensor.dims}
    norms = [node for node in graph.node if node.op_type == "InstanceNormalization"]
    widths = [2 * channels[norm.input[1]] for norm in norms]
    given, used = ([f"{name}_{i}" for i in range(len(norms))] for name in ("given", "used"))
    for norm, norm_given, norm_used in zip(norms, given, used, strict=True):
        norm.op_type, norm.domain = NORM.name, NORM.domain
        norm.input.append(norm_given)
        norm.output.append(norm_used)

    graph.initializer.append(numpy_helper.from_array(np.array(widths, np.int64), "widths"))
    graph.node.insert(0, helper.make_node("Split", ["statistics", "widths"], given, axis=1))
    graph.node.append(helper.make_node("Concat", used, ["used_statistics"], axis=1))
    graph.input.append(helper.make_tensor_value_info("statistics", TensorProto.FLOAT, ["batch", sum(widths)]))
    graph.output.append(helper.make_tensor_value_info("used_statistics", TensorProto.FLOAT, ["batch", sum(widths)]))
    tiling.functions.append(NORM)
    tiling.opset_import.append(helper.make_opsetid(NORM.domain, 1))
    tiling = inliner.inline_local_functions(tiling)
    onnx.checker.check_model(tiling, full_check=True)
    return tiling.SerializeToString()


def check_tiling(tiling: bytes, model: bytes, pixels: Pixels) -> None:
    """Raise ExportError if `tiling` and `model` translate `pixels`, (h, w, 3), differently.
    Tests the picture's own statistics, and the same ones passed as input."""
    plain, tiles = (onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in (model, tiling))
    pictures = pixels[None]
    (expected,) = plain.run(None, {"pictures": pictures})
    own = np.full((1, tiles.get_inputs()[1].shape[1]), np.nan, np.float32)
    translated, used = tiles.run(None, {"pictures": pictures, "statistics": own})
    again, _ = tiles.run(None, {"pictures": pictures, "statistics": used})
    largest = max(int(np.abs(got.astype(np.int16) - expected).max()) for got in (translated, again))
    if largest > MAX_DIFFERENCE:
        raise ExportError(f"the graph for tiles differs from the one for pictures by up to {largest}/255: no bundle is written")
