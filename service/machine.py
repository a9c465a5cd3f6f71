"""The CPUs and the memory that this process may use. ONNX Runtime does not see the limits of a control group."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cpus() -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no control group, or one without a limit
        quota, period = map(int, (CGROUP / "cpu.max").read_text().split())
        return max(1, min(cpus, quota // period))
    return cpus


def usable_memory() -> int:
    """Return the memory in bytes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        return min(memory, int((CGROUP / "memory.max").read_text()))
    return memory


def free_memory() -> None:
    """Return freed memory to the system, which glibc does not do by itself. Other C libraries have no such function."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
