"""A generator's ONNX file to one that translates tiles of a picture too large to be translated at once.

Instance norms take the statistics of what they see, so that each tile would have a cast of its own. Here the statistics
come from outside: from one pass over a thumbnail of the whole picture (Chen et al., "Towards Ultra-Resolution Neural Style
Transfer via Thumbnail Instance Normalization", AAAI 2022).
"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, inliner, numpy_helper, parser

from training.data import Pixels

MAX_DIFFERENCE = 2
"""In steps of 1/255."""


class ExportError(RuntimeError):
    """A generator whose ONNX graph does not do what it does in torch; no bundle is written."""


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
"""InstanceNormalization with its statistics, float32 (n, 2 × channels): means, then variances. NaN asks for the picture's own."""


def to_tiling(model: bytes) -> bytes:
    """The ONNX file with one more input, `statistics`, and one more output, `used_statistics`: float32 (n, s), those of all
    instance norms side by side. Rows of NaN give what `model` gives; what was used of a thumbnail, its picture's tiles are
    given."""
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
    """That `tiling` makes of `pixels`, (h, w, 3) of sides that fit, what `model` makes of them: with the picture's own
    statistics, and with these given back. Raises ExportError."""
    plain, tiles = (onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in (model, tiling))
    pictures = pixels[None]
    (expected,) = plain.run(None, {"pictures": pictures})
    own = np.full((1, tiles.get_inputs()[1].shape[1]), np.nan, np.float32)
    translated, used = tiles.run(None, {"pictures": pictures, "statistics": own})
    again, _ = tiles.run(None, {"pictures": pictures, "statistics": used})
    largest = max(int(np.abs(got.astype(np.int16) - expected).max()) for got in (translated, again))
    if largest > MAX_DIFFERENCE:
        raise ExportError(f"the graph for tiles differs from the one for pictures by up to {largest}/255: no bundle is written")
