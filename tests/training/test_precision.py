"""Graphs in lower precisions: what computes in what, and which are kept."""

import logging
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from tests.conftest import PICTURES
from training import precision
from training.data import Pixels
from training.generators import ResnetGenerator, Widths
from training.graph import to_onnx


@pytest.fixture(scope="module")
def model() -> bytes:
    torch.manual_seed(0)
    return to_onnx(ResnetGenerator(Widths.of(ngf=4, n_blocks=1), "nearest").eval())


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    """(1, 64, 96, 3) each."""
    return [np.asarray(Image.open(path).convert("RGB").resize((96, 64)))[None] for path in sorted(PICTURES.glob("*.jpg"))]


def operators(graph: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(graph).graph.node)


def test_fp16_is_near_and_keeps_norms_and_the_last_convolution_in_fp32(model: bytes, pictures: list[Pixels]) -> None:
    (fp16,) = precision.variants(model, [], pictures)
    assert fp16.precision == "fp16"
    assert fp16.parity["mean_difference"] < 1
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(fp16.onnx)).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert {types[node.output[0]] for node in convolutions[:-1]} == {onnx.TensorProto.FLOAT16}
    norms = [node for node in graph.node if node.op_type == "InstanceNormalization"]
    assert {types[node.output[0]] for node in (*norms, convolutions[-1])} == {onnx.TensorProto.FLOAT}
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_int8_takes_the_convolutions_but_the_last_and_no_more(model: bytes, pictures: list[Pixels]) -> None:
    quantised = precision.quantise(precision.equalise(model, pictures), pictures)
    graph = onnx.load_from_string(quantised).graph
    made = {output: node for node in graph.node for output in node.output}
    *convolutions, last = (node for node in graph.node if node.op_type == "Conv")
    for node in convolutions:
        assert [made[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
    assert operators(quantised)["Conv"] == operators(model)["Conv"]
    kernels = {tensor.name: tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4}
    assert kernels.pop(last.input[1]) == onnx.TensorProto.FLOAT
    assert set(kernels.values()) == {onnx.TensorProto.INT8}
    assert len(quantised) < len(model)


def test_equalised_it_translates_as_before_and_quantises_better(model: bytes, pictures: list[Pixels]) -> None:
    loaded = onnx.load_from_string(model)
    kernel = next(tensor for tensor in loaded.graph.initializer if len(tensor.dims) == 4)
    uneven = onnx.numpy_helper.to_array(kernel) * np.array([1, 1, 1, 60], np.float32)[:, None, None, None]
    kernel.CopyFrom(onnx.numpy_helper.from_array(uneven, kernel.name))
    uneven_model = loaded.SerializeToString()
    expected, equalised = precision._translate(uneven_model, pictures), precision.equalise(uneven_model, pictures)

    def difference(graph: bytes) -> float:
        return precision._differences(precision._translate(graph, pictures), expected)["mean_difference"]

    assert difference(equalised) < 0.1
    assert difference(precision.quantise(equalised, pictures)) < 0.7 * difference(precision.quantise(uneven_model, pictures))


def test_sensitive_convolutions_stay_in_fp32_where_int8_would_take_it_too_far(
    model: bytes, pictures: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    def worst(graph: bytes) -> float:
        return precision._differences(precision._translate(graph, pictures), precision._translate(model, pictures))["worst_picture"]

    whole = precision.quantise(precision.equalise(model, pictures[: precision.PROBES]), pictures)
    monkeypatch.setitem(precision.LARGEST, "int8", 0.7 * worst(whole))
    partly = precision._quantise_closely(model, pictures)
    assert 0 < operators(partly)["QuantizeLinear"] < operators(whole)["QuantizeLinear"]
    assert worst(partly) < worst(whole)


def test_what_is_too_far_from_fp32_is_left_out_and_the_log_says_why(
    model: bytes, pictures: list[Pixels], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("fp16", "int8"):
        monkeypatch.setitem(precision.LARGEST, name, -1.0)
    with caplog.at_level(logging.WARNING):
        assert precision.variants(model, pictures[:1], pictures[:1]) == []
    assert "no fp16 graph: its mean difference from fp32 is" in caplog.text
    assert "no INT8 graph: to stay within -1/255, more than half of the convolutions" in caplog.text


def test_without_pictures_of_the_source_domain_there_is_no_int8_and_the_log_says_so(
    model: bytes, pictures: list[Pixels], caplog: pytest.LogCaptureFixture
) -> None:
    assert [variant.precision for variant in precision.variants(model, [], pictures)] == ["fp16"]
    assert "no INT8 graph: its calibration needs pictures of the domains" in caplog.text
