"""Bundles' files to sessions: which provider, which precision, and why."""

import ctypes
import math
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import structlog

from models.bundle import Bundle, Precision
from service.engine.graphs import Graphs

log = structlog.get_logger()

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
GPUS = (CUDA, TENSORRT)
OPTIONS = {
    CUDA: {"cudnn_conv_algo_search": "HEURISTIC", "prefer_nhwc": "1"},
    TENSORRT: {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(Path(tempfile.gettempdir()) / "cyclegan-tensorrt")},
}
"""CUDA's default searches again at each new shape, for hundreds of milliseconds; tensor cores want channels last.
TensorRT builds an engine for minutes, and keeps it."""
RECORDING = {"enable_cuda_graph": "1"}
WORTHWHILE = 1.2
"""Times that INT8 must be faster than fp32 to be served."""
TIMED_RUNS = 9
CPU_BATCH_SECONDS = 0.02
"""Of work in a batch on a CPU, where more at once is no faster: batches only save handing over what is small."""

ARENA = 2**30
"""Bytes of address space that sessions on a CPU share, before they would ask for more."""


@dataclass(frozen=True)
class Opened:
    """What a bundle runs on, and the precision that it computes in."""

    session: onnxruntime.InferenceSession
    """Each lane's: on a CPU it has one thread, since lanes side by side do more than threads that wait for each other."""
    precision: Precision
    wide: onnxruntime.InferenceSession | None = None
    """With all threads, for a picture that is alone; None where that is no other."""
    graphs: Graphs | None = None
    """The session's recordings, where it makes any."""


def choose_providers(wanted: tuple[str, ...]) -> tuple[list[str], str]:
    """ONNX Runtime's providers to ask for, in order, and why."""
    if wanted != ("auto",):
        return list(wanted), "CYCLEGAN_PROVIDERS says so"
    if CUDA not in onnxruntime.get_available_providers():
        return [CPU], "this ONNX Runtime is built without CUDA"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [CPU], "this machine has no NVIDIA driver"
    onnxruntime.preload_dlls()
    return [CUDA, CPU], "this machine has an NVIDIA driver; CPU here means that CUDA's libraries did not load"


def count_lanes(providers: list[str], threads: int, records: bool = False) -> int:
    """Two on a GPU, so that copies overlap compute, but one where it `records` CUDA graphs; one for each of a CPU's threads."""
    if on_gpu(providers):
        return 1 if records else 2
    return threads


def longest_batch(providers: list[str]) -> float:
    """How many seconds of work make a batch at most."""
    return math.inf if on_gpu(providers) else CPU_BATCH_SECONDS


def on_gpu(providers: list[str]) -> bool:
    return any(provider in GPUS for provider in providers)


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies bytes four at a time; False where no such file tells."""
    try:
        return any(line.startswith("flags") and {"avx512_vnni", "avx_vnni"} & {*line.split()} for line in cpuinfo.open())
    except OSError:
        return False


def open_session(bundle: Bundle, providers: list[str], threads: int, records: bool = False) -> Opened:
    """fp16 on a GPU, and INT8 on a CPU with VNNI that is enough faster with it; else, and where there is no such file, fp32."""
    if on_gpu(providers):
        precision: Precision = "fp16" if bundle.path("fp16") else "fp32"
        opened = _open(bundle, precision, providers, threads, records)
        if opened.session.get_providers()[0] != CPU:
            return opened
        providers = [CPU]
    chosen = _open(bundle, "fp32", providers, 1)
    if bundle.path("int8") and has_vnni():
        chosen = choose_faster(bundle, chosen, _open(bundle, "int8", providers, 1))
    return replace(chosen, wide=_open(bundle, chosen.precision, providers, threads).session) if threads > 1 else chosen


def choose_faster(bundle: Bundle, whole: Opened, quantised: Opened) -> Opened:
    """INT8 where it is WORTHWHILE; both run in turns, since what else the machine does changes."""
    size = bundle.version.trained_size
    picture = np.zeros((1, size, size, 3), np.uint8)
    seconds: dict[Precision, list[float]] = {"fp32": [], "int8": []}
    for _ in range(1 + TIMED_RUNS):
        for opened in (whole, quantised):
            begun = time.perf_counter()
            opened.session.run(None, {"pictures": picture})
            seconds[opened.precision].append(time.perf_counter() - begun)
    ratio = median(a / b for a, b in list(zip(seconds["fp32"], seconds["int8"], strict=True))[1:])
    chosen = quantised if ratio >= WORTHWHILE else whole
    log.info(
        "precision chosen", direction=bundle.direction, precision=chosen.precision,
        why=f"INT8 is {ratio:.2f} times as fast as fp32 here, and {WORTHWHILE} are asked for",
    )  # fmt: skip
    return chosen


def _open(bundle: Bundle, precision: Precision, providers: list[str], threads: int, records: bool = False) -> Opened:
    path = bundle.path(precision)
    assert path is not None
    session = new_session(path, providers, threads, records)
    return Opened(session, precision, graphs=Graphs(session) if records else None)


def new_session(path: Path, providers: list[str], threads: int, records: bool = False) -> onnxruntime.InferenceSession:
    """One that `records` can have CUDA graphs. Raises one of ONNX Runtime's errors where some of its nodes would not run on CUDA."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if not on_gpu(providers):
        share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.enable_mem_pattern = False  # or each shape seen takes a block of its own size from what is shared
    options.add_session_config_entry("session.force_spinning_stop", "1")  # after a run the threads are for others
    provider_options = OPTIONS | {CUDA: OPTIONS[CUDA] | RECORDING} if records else OPTIONS
    return onnxruntime.InferenceSession(path, options, providers=[(name, provider_options.get(name, {})) for name in providers])


@cache
def share_memory() -> None:
    """What runs on the CPU gets its memory from one arena, which grows to what is in flight at once; sessions with one each
    would hold on to what each has ever needed. It is of one piece, of which only what is used takes memory: pieces that each
    suit pictures of some sizes would add up."""
    cpu = onnxruntime.OrtMemoryInfo("Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(cpu, onnxruntime.OrtArenaCfg({"initial_chunk_size_bytes": ARENA}))
