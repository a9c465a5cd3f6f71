"""Bundles' files to sessions: which provider, which precision, and why."""

import ctypes
import math
import tempfile
from functools import cache
from pathlib import Path

import onnxruntime

from models.bundle import Precision, Version

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
GPUS = (CUDA, TENSORRT)
WORTHWHILE = 1.2
"""Times that INT8 must have been faster than fp32 at export to be served."""
CPU_BATCH_SECONDS = 0.02
"""Of work in a batch on a CPU, where more at once is no faster: batches only save handing over what is small."""
ARENA = 2**30
"""Bytes of address space that sessions on a CPU share, before they would ask for more."""


def check_providers(names: tuple[str, ...]) -> None:
    """Raises ValueError where ONNX Runtime would pass one over in silence and compute on the CPU."""
    known = ("auto", *onnxruntime.get_available_providers())
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{', '.join(unknown)}: this ONNX Runtime has no such provider; it has {', '.join(known[1:])}, or say auto")
    if "auto" in names and len(names) > 1:
        raise ValueError("auto stands alone")


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


def count_lanes(providers: list[str], threads: int, devices: int = 1) -> int:
    """Two on each GPU, so that copies overlap compute; one for each of a CPU's threads."""
    return 2 * devices if on_gpu(providers) else threads


def longest_batch(providers: list[str]) -> float:
    """How many seconds of work make a batch at most."""
    return math.inf if on_gpu(providers) else CPU_BATCH_SECONDS


def on_gpu(providers: list[str]) -> bool:
    return any(provider in GPUS for provider in providers)


def choose_precision(version: Version, wanted: Precision | str, gpu: bool, vnni: bool) -> tuple[Precision, str]:
    """What a version runs in, and why. `wanted` may be auto; fp32 is there always."""
    if wanted != "auto":
        precision: Precision = wanted  # type: ignore[assignment]  # settings.py knows no other
        return (precision, "CYCLEGAN_PRECISION says so") if version.file(precision) else ("fp32", f"it has no file in {precision}")
    if gpu:
        return ("fp16", "it is on a GPU") if version.file("fp16") else ("fp32", "it has no file in fp16")
    int8 = version.file("int8")
    if int8 is None or not vnni:
        return "fp32", "it has no file in int8" if int8 is None else "this CPU has no VNNI"
    if int8.speedup is None:
        return "fp32", "how fast int8 is was not measured at export: CYCLEGAN_PRECISION=int8 asks for it all the same"
    told = f"int8 was {int8.speedup:.2f} times as fast as fp32 at export, and {WORTHWHILE} are asked for"
    return ("int8" if int8.speedup >= WORTHWHILE else "fp32"), told


def open_session(path: Path, providers: list[str], threads: int, device: int = 0) -> onnxruntime.InferenceSession:
    """On a GPU: the one with this number. Raises one of ONNX Runtime's errors."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if not on_gpu(providers):
        share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.enable_mem_pattern = False  # or each shape seen takes a block of its own size from what is shared
    options.add_session_config_entry("session.force_spinning_stop", "1")  # after a run the threads are for others
    return onnxruntime.InferenceSession(path, options, providers=[(name, provider_options(name, device)) for name in providers])


def provider_options(provider: str, device: int) -> dict[str, str]:
    """CUDA's default searches for an algorithm again at each new shape, for hundreds of milliseconds, and tensor cores want channels
    last. TensorRT builds an engine for minutes, and keeps it."""
    if provider == CUDA:
        return {"device_id": str(device), "cudnn_conv_algo_search": "HEURISTIC", "prefer_nhwc": "1"}
    if provider == TENSORRT:
        cache_path = str(Path(tempfile.gettempdir()) / "cyclegan-tensorrt")
        return {"device_id": str(device), "trt_engine_cache_enable": "1", "trt_engine_cache_path": cache_path}
    return {}


@cache
def share_memory() -> None:
    """What runs on the CPU gets its memory from one arena, which grows to what is in flight at once; sessions with one each
    would hold on to what each has ever needed. It is of one piece, of which only what is used takes memory: pieces that each
    suit pictures of some sizes would add up."""
    cpu = onnxruntime.OrtMemoryInfo("Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(cpu, onnxruntime.OrtArenaCfg({"initial_chunk_size_bytes": ARENA}))
