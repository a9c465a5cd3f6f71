"""The features of this machine's CPU."""

from pathlib import Path


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this CPU has VNNI instructions, without which INT8 is slow. False if `cpuinfo` cannot be read."""
    try:
        return any(line.startswith("flags") and {"avx512_vnni", "avx_vnni"} & {*line.split()} for line in cpuinfo.open())
    except OSError:
        return False
