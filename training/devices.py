"""The device and the precision that a run computes in."""

import torch

from training.config import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the named device; for `auto`, CUDA if available, else the CPU. Raises ConfigError if the device cannot be used."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
        return device
    except Exception as error:  # each device raises its own
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        raise ConfigError(f"device: {name} cannot be used here ({reason}): leave device=auto, or name cpu") from None


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the named dtype. `auto` is bf16 if the hardware computes in it (emulated bf16 is slower than fp32), else fp16 or fp32."""
    if name != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else torch.float32
