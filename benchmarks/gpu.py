"""Measure on a GPU: sessions against the card's matrix throughput, and HTTP against sessions."""

from functools import partial

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from benchmarks import pictures, sessions
from benchmarks.bundles import SHIPPED
from benchmarks.report import Finding, ratios
from benchmarks.servers import our_server
from benchmarks.serving import SIDE, Bench, Contenders, check, closed_loops
from models.bundle import Bundle, load_bundle
from service.engine.sessions import CPU, CUDA, choose_providers, open_session
from service.machine import usable_cpus

BATCHES = (1, 4, 16, 64)
CLIENTS = 128
PICTURE_GFLOP = {"lite": 5.75, "standard": 99.1}
"""Operations for a picture of 256×256 pixels; a multiplication and an addition count as two."""


def find_problem() -> str | None:
    """Return why sessions cannot run on a GPU here; None if they can."""
    providers, problem = choose_providers(("auto",))
    if CUDA not in providers:
        return problem
    session = open_session(load_bundle(SHIPPED).onnx, providers, usable_cpus())
    return None if session.get_providers()[0] == CUDA else "CUDA's libraries did not load: pip install -e '.[gpu]'"


def measure(bench: Bench, bundles: dict[str, Bundle], provider: str = CUDA) -> None:
    """Measure each bundle's session with its best batch size, and the service."""
    teraflops = matrix_rate(provider, bench.seconds)
    bench.report.findings.append(Finding("GPU: fp16 matrix products", f"{teraflops:.0f} TFLOP/s"))
    (picture,) = pictures.squares(SIDE, 1)
    for name, bundle in bundles.items():
        session = open_session(bundle.path("fp16") or bundle.onnx, [provider, CPU], usable_cpus())
        batch = sessions.best_batch(session, pictures.pixels(picture), bench.seconds / 5, BATCHES)
        bare = partial(sessions.repeat, partial(sessions.run, session, batch), bench.seconds, len(batch))
        with our_server(bundle, bench.logs, picture, providers=provider) as server:
            check([server], bundle.onnx)
            contenders: Contenders = {
                f"bare session, batches of {len(batch)}": bare,
                **closed_loops([server], picture, CLIENTS, bench.seconds),
            }
            rows = bench.side_by_side(f"{name}, GPU", f"{CLIENTS} clients", contenders)
        over_http, alone = ([load.per_second for load in rows[each].rounds] for each in reversed(list(contenders)))
        bench.report.findings.append(Finding(f"GPU: {name}, HTTP / session", ratios(over_http, alone), "0.9"))
        share = np.median(alone) * PICTURE_GFLOP[name] / 1000 / teraflops
        bench.report.findings.append(Finding(f"GPU: {name}, session's share of the matrix rate", f"{100 * share:.0f} %", "40 %"))
        photographs = [pictures.pixels(content) for content in pictures.squares(SIDE, len(pictures.PHOTOGRAPHS))]
        difference = sessions.mean_difference(session, open_session(bundle.onnx, [CPU], usable_cpus()), photographs)
        bench.report.findings.append(
            Finding(f"GPU: {name}, mean difference from the CPU's pictures", f"{difference:.2f}/255", "under 1/255")
        )


def matrix_rate(provider: str, seconds: float, side: int = 8192) -> float:
    """Measure the TFLOP/s of fp16 matrix products on the device."""
    shape = [side, side]
    a, b, c = (helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape) for name in "abc")
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", [a, b], [c])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=[provider])
    device = "cuda" if provider == CUDA else "cpu"
    ones = onnxruntime.OrtValue.ortvalue_from_numpy(np.ones(shape, np.float16), device, 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input("a", ones)
    binding.bind_ortvalue_input("b", ones)
    binding.bind_output("c", device)

    def product() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    product()
    return sessions.repeat(product, seconds).per_second * 2 * side**3 / 1e12
