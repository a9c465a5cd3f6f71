"""`models/` is a model repository of NVIDIA's Triton, as Triton's own protocol reads it."""

from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from models.bundle import list_bundles, load_bundle
from tests.conftest import ROOT
from training.triton import CONFIG, triton_config

DTYPES = {onnx.TensorProto.UINT8: model_config_pb2.TYPE_UINT8}


def shape(value: onnx.ValueInfoProto) -> list[int]:
    return [dimension.dim_value or -1 for dimension in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("folder", list_bundles(ROOT / "models"), ids=lambda folder: folder.name)
def test_each_bundle_says_to_triton_what_its_graph_is(folder: Path) -> None:
    bundle = load_bundle(folder)
    config = text_format.Parse((folder / CONFIG).read_text(), model_config_pb2.ModelConfig())
    assert (config.name, config.backend) == (folder.name, "onnxruntime")
    assert config.HasField("dynamic_batching")
    assert config.version_policy.latest.num_versions == 1

    served = max((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    assert served / config.default_model_filename == bundle.onnx
    graph = onnx.load(bundle.onnx).graph
    for told, real in ((config.input, graph.input), (config.output, graph.output)):
        assert [(tensor.name, tensor.data_type) for tensor in told] == [(t.name, DTYPES[t.type.tensor_type.elem_type]) for t in real]
        assert [[-1, *tensor.dims] for tensor in told] == [shape(tensor) for tensor in real], "the first is Triton's own: the batch"
    assert config.input[0].format == model_config_pb2.ModelInput.FORMAT_NHWC
    assert (folder / CONFIG).read_text() == triton_config(bundle.manifest)
