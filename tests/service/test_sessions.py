"""Which file of a bundle is served, on what, and why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from models.bundle import Bundle, Device, Manifest, ModelFile, Precision, Version, sha256_of, write_version
from models.processor import has_vnni
from service.engine import generator, sessions
from service.engine.generator import Generator
from service.engine.sessions import CPU, CUDA, TENSORRT, check_providers, choose_precision, choose_providers, count_lanes
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


def bundle_of(folder: Path, speedup: float | None = None, **graphs: bytes) -> Bundle:
    devices: dict[Precision, Device] = {"fp32": "any", "fp16": "cuda", "int8": "cpu-vnni"}
    files = [
        ModelFile(
            path=f"1/{name}.onnx",
            precision=name,
            device=device,
            sha256=sha256_of(graphs[name]),
            speedup=speedup if name == "int8" else None,
        )
        for name, device in devices.items()
        if name in graphs
    ]
    version = Version(
        version=1, architecture="a", trained_size=128, multiple=1, smallest_side=1, files=tuple(files), training={}, evaluation={}
    )
    manifest = Manifest(direction="a2b", source="a", target="b", inverse="b2a", licence="none", versions=(version,))
    return write_version(folder / "a2b", manifest, [graphs[file.precision] for file in files], {})


@pytest.mark.parametrize(
    ("speedup", "vnni", "gpu", "wanted", "served"),
    [
        (1.5, True, False, "auto", "int8"),
        (1.1, True, False, "auto", "fp32"),
        (None, True, False, "auto", "fp32"),
        (1.5, False, False, "auto", "fp32"),
        (1.5, True, True, "auto", "fp16"),
        (1.1, False, False, "int8", "int8"),
        (1.5, True, True, "fp32", "fp32"),
    ],
)
def test_precision_follows_from_manifest_cpu_and_setting(
    tmp_path: Path, speedup: float | None, vnni: bool, gpu: bool, wanted: str, served: str
) -> None:
    bundle = bundle_of(tmp_path, speedup, fp32=sines(), fp16=sines(), int8=sines())
    precision, why = choose_precision(bundle.version, wanted, gpu, vnni)
    assert precision == served
    assert why


@pytest.mark.parametrize("wanted", ["auto", "int8", "fp16"])
def test_a_bundle_with_only_fp32_runs_in_it(tmp_path: Path, wanted: str) -> None:
    version = bundle_of(tmp_path, fp32=sines()).version
    assert {choose_precision(version, wanted, gpu, vnni)[0] for gpu in (True, False) for vnni in (True, False)} == {"fp32"}


def test_a_cpu_without_vnni_does_not_even_open_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "has_vnni", lambda: False)
    assert Generator(bundle_of(tmp_path, 1.5, fp32=sines(), int8=b"not a graph"), [CPU], 1).model == "a2b/1/fp32"


class Session:
    """Stands in for one of ONNX Runtime's on a GPU."""

    def __init__(self, path: Path, options: object, providers: list) -> None:
        self.name, self.options = path.name, dict(providers)
        self.providers = [provider for provider, _ in providers]
        opened.append(self)

    def get_providers(self) -> list[str]:
        return self.providers


opened: list[Session] = []


def test_each_gpu_has_a_session_in_fp16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.clear()
    monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", Session)
    assert Generator(bundle_of(tmp_path, fp32=sines(), fp16=sines(), int8=sines()), [CUDA, CPU], 1, devices=(0, 3)).precision == "fp16"
    assert [session.name for session in opened] == ["fp16.onnx"] * 2
    for session, device in zip(opened, ("0", "3"), strict=True):
        assert session.options[CUDA] == {"device_id": device, "cudnn_conv_algo_search": "HEURISTIC", "prefer_nhwc": "1"}
        assert session.options[CPU] == {}


def test_where_cuda_does_not_load_fp32_runs_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "has_vnni", lambda: False)
    session = sessions.onnxruntime.InferenceSession
    monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", lambda path, options, providers: session(path, options, [CPU]))
    assert Generator(bundle_of(tmp_path, fp32=sines(), fp16=sines()), [CUDA, CPU], 1).precision == "fp32"


def test_lanes_and_providers() -> None:
    assert choose_providers((TENSORRT, CUDA, CPU)) == ([TENSORRT, CUDA, CPU], "CYCLEGAN_PROVIDERS says so")
    assert [count_lanes(providers, 8) for providers in ([CPU], [CUDA, CPU], [TENSORRT, CUDA, CPU])] == [8, 2, 2]
    assert count_lanes([CUDA, CPU], 8, devices=2) == 4


@pytest.mark.parametrize("names", [("cuda",), ("CPUExecutionProvider", "Cuda"), ("auto", CPU)])
def test_a_provider_that_is_none_is_refused_with_those_there_are(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="auto"):
        check_providers(names)
    check_providers((CPU,))
    check_providers(("auto",))


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
