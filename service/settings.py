"""Every setting once: read from the environment with CYCLEGAN_ before each name, and checked at start."""

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

import models
from models.bundle import BundleError, list_bundles
from models.remote import local_models
from service.engine.catalog import read_traffic
from service.engine.sessions import check_providers
from service.keys import check_secret, read_keys
from service.machine import usable_cpus

PREFIX = "CYCLEGAN_"
OF_THE_COMMAND = ("CYCLEGAN_URL", "CYCLEGAN_KEY")
"""What `cyclegan translate` asks a service by; no settings."""


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


T = TypeVar("T")
CommaSeparated = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split)]
"""Written `a,b,c` in the environment."""


def checked_by(check: Callable[[Any], Any]) -> AfterValidator:
    """For values that `check` raises no ValueError for."""

    def checked(value: T) -> T:
        check(value)
        return value

    return AfterValidator(checked)


def default_models() -> Path:
    here = Path("models")
    return here if list_bundles(here) else Path(models.__file__).parent


def _fetched(where: Any) -> Any:
    try:
        return local_models(where) if isinstance(where, str) else where
    except BundleError as error:
        raise ValueError(str(error)) from None


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    host: str = "0.0.0.0"
    """Address to listen on."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on."""
    root_path: str = Field("", pattern=r"^(/[^/?#\s]+)*$")
    """Path below which a proxy publishes the service, like `/paint`; where a proxy sends X-Forwarded-Prefix, that counts."""
    cors_origins: CommaSeparated[str] = ()
    """Origins whose web pages may use the service, comma-separated; `*`: all; empty: none but its own."""
    keep_alive_seconds: int = Field(75, ge=1)
    """How long an idle connection stays open; longer than a proxy's, which otherwise sends into one that is closing."""
    drain_seconds: float = Field(1.0, ge=0)
    """After SIGTERM: how long /health/ready says 503 before the listening socket closes. Ctrl-C does not wait."""

    models: Annotated[Path, BeforeValidator(_fetched)] = Field(default_factory=default_models)
    """Folder of bundles, a folder a direction; ./models, or where there is none the bundles that were installed. Or where they are
    fetched from at start, checked: hf://you/paintings, s3://bucket/models, https://…"""
    traffic: Annotated[CommaSeparated[str], checked_by(read_traffic)] = ()
    """Shares of requests for versions, comma-separated: `photo2monet:3=0.1` gives a tenth to version 3 of photo2monet."""
    on_device: bool = True
    """Whether the bundles' files are served, for pages that translate on the user's own device; off: weights are kept here."""
    repository_key: SecretStr | None = None
    """Key for loading and unloading models over HTTP, by the Open Inference Protocol's repository extension; empty: off."""

    providers: Annotated[CommaSeparated[str], checked_by(check_providers)] = ("auto",)
    """ONNX Runtime execution providers in order of preference, comma-separated; auto: CUDA where it is there, else CPU."""
    precision: Literal["auto", "fp32", "fp16", "int8"] = "auto"
    """What generators compute in; auto: fp16 on a GPU, INT8 on a CPU with VNNI where export found it faster, else fp32."""
    devices: CommaSeparated[int] = Field((0,), min_length=1)
    """GPUs to use, by number, comma-separated."""
    intra_op_threads: int = Field(default_factory=usable_cpus, ge=1)
    """Threads that sessions have on the CPU, all together; by default as many as CPUs may be used."""
    codecs: int = Field(default_factory=usable_cpus, ge=1)
    """Processes that decode, finish and encode pictures; by default as many as CPUs may be used."""

    default_size: int = Field(512, ge=64, le=4096)
    """Longest side in pixels that pictures are translated at where the request names none."""
    max_upload_bytes: int = Field(32 * 1024 * 1024, ge=1024)
    """Largest body of a request, in bytes."""
    max_uploads_bytes: int = Field(256 * 1024 * 1024, ge=1024)
    """Most bytes of all bodies that are being read or worked on at once."""
    stall_seconds: float = Field(30.0, gt=0)
    """A body of which less than 1 kB for each of so many seconds comes in is given up on, and a request whose head takes longer."""
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

    api_keys: CommaSeparated[Annotated[SecretStr, checked_by(lambda key: check_secret(key.get_secret_value()))]] = ()
    """Keys, comma-separated, one of which a request must carry as `Authorization: Bearer` or `X-API-Key`; empty: open to all."""
    keys_file: Annotated[Path, checked_by(read_keys)] | None = None
    """TOML file of further keys, by name: `[shop]`, `key = "…"` and, for a limit, `rate = "100/minute"`; SIGHUP reads it again."""
    log_format: Literal["auto", "human", "json"] = "auto"
    """How logs are written; auto: human on a terminal, else JSON."""
    slow_seconds: float = Field(10.0, gt=0)
    """A request that takes longer has a warning in the log, with what each stage took."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        """A misspelt variable would be left out in silence."""
        names = {f"{PREFIX}{name.upper()}" for name in cls.model_fields}
        for variable in sorted(os.environ):
            if variable.upper().startswith(PREFIX) and variable.upper() not in (*names, *OF_THE_COMMAND):
                near = difflib.get_close_matches(variable, names, 1)
                raise ValueError(f"there is no setting {variable}" + (f": is {near[0]} meant?" if near else ""))
        return values


def explain(error: ValidationError) -> str:
    """What is wrong with which variable, a line each."""
    wrong = [each for each in error.errors() if each["type"] != "default_factory_not_called"]
    return "\n".join(
        f"  {PREFIX + str(each['loc'][0]).upper() + ': ' if each['loc'] else ''}{each['msg'].removeprefix('Value error, ')}"
        for each in wrong
    )


def describe(settings: Settings) -> str:
    """The settings as they would be set, each under what it means."""
    lines = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else value
        lines += [f"# {field.description}", f"{PREFIX}{name.upper()}={shown}", ""]
    return "\n".join(lines)
