"""Which file of a bundle is served, on what, and why."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from structlog.testing import capture_logs

from models.bundle import Bundle, Device, Manifest, ModelFile, Precision, Version, sha256_of, write_version
from service.engine import sessions
from service.engine.catalog import Catalog
from service.engine.sessions import CPU, CUDA, TENSORRT, choose_providers, count_lanes, has_vnni, open_session
from tests.conftest import ROOT


def sines(times: int = 0) -> bytes:
    """A graph that takes so many sines of a picture, as work for a session."""
    shape = ["batch", "height", "width", 3]
    nodes = [
        helper.make_node("Cast", ["pictures"], ["x0"], to=TensorProto.FLOAT),
        *(helper.make_node("Sin", [f"x{i}"], [f"x{i + 1}"]) for i in range(times)),
        helper.make_node("Cast", [f"x{times}"], ["translations"], to=TensorProto.UINT8),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in ("pictures", "translations")]
    graph = helper.make_graph(nodes, "sines", value[:1], value[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def bundle_of(folder: Path, **graphs: bytes) -> Bundle:
    devices: dict[Precision, Device] = {"fp32": "any", "fp16": "cuda", "int8": "cpu-vnni"}
    files = [
        ModelFile(path=f"1/{name}.onnx", precision=name, device=device, sha256=sha256_of(graphs[name]))
        for name, device in devices.items()
        if name in graphs
    ]
    version = Version(
        version=1, architecture="a", trained_size=128, multiple=1, smallest_side=1, files=tuple(files), training={}, evaluation={}
    )
    manifest = Manifest(direction="a2b", source="a", target="b", inverse="b2a", licence="none", versions=(version,))
    return write_version(folder / "a2b", manifest, [graphs[file.precision] for file in files], {})


@pytest.fixture
def vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "has_vnni", lambda: True)


@pytest.mark.usefixtures("vnni")
@pytest.mark.parametrize(("int8_sines", "fp32_sines", "served"), [(0, 40, "int8"), (40, 0, "fp32")])
def test_int8_is_served_where_it_is_faster_and_the_log_tells_the_ratio(
    tmp_path: Path, int8_sines: int, fp32_sines: int, served: str
) -> None:
    bundle_of(tmp_path, fp32=sines(fp32_sines), int8=sines(int8_sines))
    catalog = Catalog(tmp_path, (CPU,), threads=1)
    with capture_logs() as logs:
        (generator,) = catalog.open_new()
    assert generator.precision == served
    chosen = next(line for line in logs if line["event"] == "precision chosen")
    assert (chosen["direction"], chosen["precision"]) == ("a2b", served)
    assert "times as fast as fp32 here" in chosen["why"]
    picture = np.zeros((1, 8, 8, 3), np.uint8)
    assert generator.run(picture).shape == picture.shape


def test_a_cpu_without_vnni_does_not_even_open_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "has_vnni", lambda: False)
    bundle = bundle_of(tmp_path, fp32=sines(), int8=b"not a graph")
    assert open_session(bundle, [CPU], 1).precision == "fp32"


def test_fp16_is_for_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Session:
        def __init__(self, path: Path, options: object, providers: list) -> None:
            asked.append((path.name, providers))
            self.providers = [provider for provider, _ in providers]

        def get_providers(self) -> list[str]:
            return self.providers

    bundle = bundle_of(tmp_path, fp32=sines(), fp16=sines(), int8=sines())
    monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", Session)
    assert open_session(bundle, [CUDA, CPU], 1).precision == "fp16"
    ((name, providers),) = asked
    assert name == "fp16.onnx"
    assert dict(providers)[CUDA] == {"cudnn_conv_algo_search": "HEURISTIC", "prefer_nhwc": "1"}
    assert dict(providers)[CPU] == {}
    assert open_session(bundle, [CUDA, CPU], 1, records=True).graphs
    assert dict(asked[1][1])[CUDA] == dict(providers)[CUDA] | {"enable_cuda_graph": "1"}


def test_where_cuda_does_not_load_fp32_runs_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "has_vnni", lambda: False)
    session = sessions.onnxruntime.InferenceSession
    monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", lambda path, options, providers: session(path, options, [CPU]))
    assert open_session(bundle_of(tmp_path, fp32=sines(), fp16=sines()), [CUDA, CPU], 1).precision == "fp32"


def test_lanes_and_providers() -> None:
    assert choose_providers((TENSORRT, CUDA, CPU)) == ([TENSORRT, CUDA, CPU], "CYCLEGAN_PROVIDERS says so")
    assert [count_lanes(providers, 8) for providers in ([CPU], [CUDA, CPU], [TENSORRT, CUDA, CPU])] == [8, 2, 2]
    assert count_lanes([CUDA, CPU], 8, records=True) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [("flags\t: fpu avx512_vnni\n", True), ("flags\t: fpu avx_vnni sse\n", True), ("flags\t: avx2\n", False), (None, False)],
)
def test_vnni_is_read_from_the_cpus_flags(tmp_path: Path, text: str | None, told: bool) -> None:
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert has_vnni(tmp_path / "cpuinfo") is told


def test_onnx_runtime_reports_to_nobody(tmp_path: Path) -> None:
    """Its telemetry begins with an id of this machine in the user's cache."""
    switches = ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in switches} | {"HOME": str(tmp_path)}
    script = "from pathlib import Path; from service.engine.catalog import Catalog; Catalog(Path('models'), ('auto',), 1).open_new()"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)
    assert not list(tmp_path.rglob("*onnxruntime*"))
