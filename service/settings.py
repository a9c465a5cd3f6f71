"""Every setting once: read from the environment with CYCLEGAN_ before each name, and checked at start."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

import models
from models.bundle import list_bundles

CommaSeparated = NoDecode
"""Marks a list that is written `a,b,c` in the environment."""


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, and its cgroup's quota, which ONNX Runtime does not see."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return cpus if quota == "max" else max(1, min(cpus, int(quota) // int(period)))
    except (OSError, ValueError):
        return cpus


def default_models() -> Path:
    here = Path("models")
    return here if list_bundles(here) else Path(models.__file__).parent


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="CYCLEGAN_", env_ignore_empty=True, frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    host: str = "0.0.0.0"
    """Address to listen on."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on."""
    workers: int = Field(1, ge=1)
    """Processes on the port, each with its own sessions and queue: more than one where one cannot feed the device."""
    models: Path = Field(default_factory=default_models)
    """Folder of bundles, a folder a direction; ./models, or where there is none the bundles that were installed."""
    providers: Annotated[tuple[str, ...], CommaSeparated] = ("auto",)
    """ONNX Runtime execution providers in order of preference, comma-separated; auto: CUDA where it is there, else CPU."""
    cuda_graphs: bool = False
    """On CUDA: record a run of each shape of batch and play it back, by one lane in the place of two; for small generators."""
    default_size: int = Field(512, ge=64, le=4096)
    """Longest side in pixels that pictures are translated at where the request names none."""
    max_upload_bytes: int = Field(32 * 1024 * 1024, ge=1024)
    """Largest body of a request, in bytes."""
    max_files: int = Field(32, ge=1)
    """Most pictures in one request."""
    max_pixels: int = Field(50_000_000, ge=1)
    """Largest picture, in pixels, read from its header before decoding."""
    deadline_seconds: float = Field(30.0, gt=0)
    """Longest time from the last byte of a request to its answer."""
    max_batch_pixels: int = Field(4 * 512 * 512, ge=1)
    """Most pixels in one session run; a single larger picture is translated in tiles."""
    max_queue_pixels: int = Field(64 * 512 * 512, ge=1)
    """Most pixels of whole pictures waiting or running; those in tiles may together be as large as the largest upload."""
    intra_op_threads: int = Field(default_factory=lambda given: max(1, usable_cpus() // given["workers"]), ge=1)
    """Threads that a process's sessions have on the CPU, all together; its share of the CPUs that may be used."""
    drain_seconds: float = Field(1.0, ge=0)
    """After SIGTERM: how long /health/ready says 503 before the listening socket closes. Ctrl-C does not wait."""
    api_keys: Annotated[tuple[SecretStr, ...], CommaSeparated] = ()
    """Keys, comma-separated, one of which a request must carry as `Authorization: Bearer` or `X-API-Key`; empty: open to all."""
    log_format: Literal["auto", "human", "json"] = "auto"
    """How logs are written; auto: human on a terminal, else JSON."""

    @field_validator("providers", "api_keys", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def describe(settings: Settings) -> str:
    """The settings as they would be set, each under what it means."""
    lines = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        lines += [f"# {field.description}", f"CYCLEGAN_{name.upper()}={shown}", ""]
    return "\n".join(lines)
