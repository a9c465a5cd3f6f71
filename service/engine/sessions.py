"""Open a bundle's files as ONNX Runtime sessions: with which provider, in which precision, and why."""

import ctypes
import tempfile
from functools import cache
from pathlib import Path

import onnxruntime

from models.bundle import Precision, Version

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
MIN_SPEEDUP = 1.2  # of INT8 over fp32 at export
CPU_BATCH_SECONDS = 0.02  # of work in a batch; on a CPU, larger batches are no faster: they only save overhead for small pictures
ARENA = 2**30  # initial bytes of address space that all sessions on the CPU share


def check_providers(names: tuple[str, ...]) -> None:
    """Raise ValueError for unknown providers, which ONNX Runtime would ignore and use the CPU instead."""
    known = ("auto", *onnxruntime.get_available_providers())
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{', '.join(unknown)}: this ONNX Runtime has no such provider; it has {', '.join(known[1:])}, or use auto")
    if "auto" in names and len(names) > 1:
        raise ValueError("auto cannot be combined with other providers")


def choose_providers(requested: tuple[str, ...]) -> tuple[list[str], str]:
    """Return ONNX Runtime's providers in order of preference, and why."""
    if requested != ("auto",):
        return list(requested), "CYCLEGAN_PROVIDERS says so"
    if CUDA not in onnxruntime.get_available_providers():
        return [CPU], "this ONNX Runtime is built without CUDA"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [CPU], "this machine has no NVIDIA driver"
    onnxruntime.preload_dlls()
    return [CUDA, CPU], "this machine has an NVIDIA driver; CPU here means that CUDA's libraries did not load"


def count_lanes(providers: list[str], threads: int, devices: int = 1) -> int:
    """Return the number of lanes: two for each GPU, so that copies overlap with computation; one for each thread of a CPU."""
    return 2 * devices if on_gpu(providers) else threads


def on_gpu(providers: list[str]) -> bool:
    return CUDA in providers or TENSORRT in providers


def choose_precision(version: Version, requested: Precision | str, gpu: bool, vnni: bool) -> tuple[Precision, str]:
    """Return the precision that a version runs in, and why. `requested` may be auto. Every version has a file in fp32."""
    if requested != "auto":
        precision: Precision = requested  # type: ignore[assignment]  # settings.py checked it
        return (precision, "CYCLEGAN_PRECISION says so") if version.file(precision) else ("fp32", f"it has no file in {precision}")
    if gpu:
        return ("fp16", "it is on a GPU") if version.file("fp16") else ("fp32", "it has no file in fp16")
    int8 = version.file("int8")
    if int8 is None or not vnni:
        return "fp32", "it has no file in int8" if int8 is None else "this CPU has no VNNI"
    if int8.speedup is None:
        return "fp32", "the speed of int8 was not measured at export; CYCLEGAN_PRECISION=int8 uses it anyway"
    why = f"int8 was {int8.speedup:.2f} times as fast as fp32 at export, and {MIN_SPEEDUP} is the minimum"
    return ("int8" if int8.speedup >= MIN_SPEEDUP else "fp32"), why


def open_session(path: Path, providers: list[str], threads: int, device: int = 0) -> onnxruntime.InferenceSession:
    """Open a session; on a GPU, on the one with the number `device`. Raises one of ONNX Runtime's errors."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if not on_gpu(providers):
        share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.enable_mem_pattern = False  # it would take a block of its own from the shared arena for each new shape
    options.add_session_config_entry("session.force_spinning_stop", "1")  # leave the CPU to other threads after a run
    return onnxruntime.InferenceSession(path, options, providers=[(name, provider_options(name, device)) for name in providers])


def provider_options(provider: str, device: int) -> dict[str, str]:
    """Return a provider's options. CUDA's default algorithm search takes hundreds of milliseconds for each new shape, and tensor cores are
    faster with channels last. TensorRT takes minutes to build an engine, so it is cached."""
    if provider == CUDA:
        return {"device_id": str(device), "cudnn_conv_algo_search": "HEURISTIC", "prefer_nhwc": "1"}
    if provider == TENSORRT:
        cache_path = str(Path(tempfile.gettempdir()) / "cyclegan-tensorrt")
        return {"device_id": str(device), "trt_engine_cache_enable": "1", "trt_engine_cache_path": cache_path}
    return {}


@cache
def share_memory() -> None:
    """Let all sessions on the CPU share one arena, which grows to what is needed at once. Separate arenas would each keep the most that
    their session ever needed. The arena is one large block, of which only used pages take memory: smaller blocks, each suited to pictures
    of some sizes, would add up."""
    cpu = onnxruntime.OrtMemoryInfo("Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(cpu, onnxruntime.OrtArenaCfg({"initial_chunk_size_bytes": ARENA}))
