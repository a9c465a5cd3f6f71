"""All settings. They are read from environment variables with the prefix CYCLEGAN_, and checked at start."""

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
CLIENT_VARIABLES = ("CYCLEGAN_URL", "CYCLEGAN_KEY")  # read by `cyclegan translate`; they are not settings


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


T = TypeVar("T")
CommaSeparated = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split)]  # `a,b,c` in the environment


def checked_by(check: Callable[[Any], Any]) -> AfterValidator:
    """Accept the values for which `check` raises no ValueError."""

    def checked(value: T) -> T:
        check(value)
        return value

    return AfterValidator(checked)


def default_models() -> Path:
    local = Path("models")
    return local if list_bundles(local) else Path(models.__file__).parent


def _download(location: Any) -> Any:
    try:
        return local_models(location) if isinstance(location, str) else location
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
    """Path under which a proxy publishes the service, like `/paint`; the header X-Forwarded-Prefix overrides it."""
    cors_origins: CommaSeparated[str] = ()
    """Origins whose web pages may use the service, comma-separated; `*`: all; empty: only its own."""
    keep_alive_seconds: int = Field(75, ge=1)
    """How long an idle connection stays open; longer than a proxy's, which would otherwise send requests into a closing connection."""
    drain_seconds: float = Field(1.0, ge=0)
    """After SIGTERM: how long /health/ready says 503 before the listening socket closes. Ctrl-C does not wait."""

    models: Annotated[Path, BeforeValidator(_download)] = Field(default_factory=default_models)
    """Folder with a bundle for each direction; default: ./models, or the installed bundles if it does not exist. Or an address to download
    them from at start, with checksums: hf://you/paintings, s3://bucket/models, https://…"""
    traffic: Annotated[CommaSeparated[str], checked_by(read_traffic)] = ()
    """Shares of requests for versions, comma-separated: `photo2monet:3=0.1` gives a tenth of the requests to version 3 of photo2monet."""
    on_device: bool = True
    """Whether the bundles' files are served to pages that translate on the user's own device; off: the weights are not published."""
    repository_key: SecretStr | None = None
    """Key for loading and unloading models over HTTP, with the Open Inference Protocol's repository extension; empty: off."""

    providers: Annotated[CommaSeparated[str], checked_by(check_providers)] = ("auto",)
    """ONNX Runtime execution providers in order of preference, comma-separated; auto: CUDA if available, else CPU."""
    precision: Literal["auto", "fp32", "fp16", "int8"] = "auto"
    """Precision of the generators; auto: fp16 on a GPU, INT8 on a CPU with VNNI if it was faster at export, else fp32."""
    devices: CommaSeparated[int] = Field((0,), min_length=1)
    """GPUs to use, by number, comma-separated."""
    intra_op_threads: int = Field(default_factory=usable_cpus, ge=1)
    """Threads of all sessions on the CPU together; default: the number of usable CPUs."""
    codecs: int = Field(default_factory=usable_cpus, ge=1)
    """Processes that decode, finish and encode pictures; default: the number of usable CPUs."""

    default_size: int = Field(512, ge=64, le=4096)
    """Longest side in pixels to translate pictures at if the request does not set a size."""
    max_upload_bytes: int = Field(32 * 1024 * 1024, ge=1024)
    """Largest body of a request, in bytes."""
    max_uploads_bytes: int = Field(256 * 1024 * 1024, ge=1024)
    """Largest total size, in bytes, of all bodies that are being read or processed at once."""
    stall_seconds: float = Field(30.0, gt=0)
    """A body that arrives slower than 1 kB a second over this time is refused, and so is a request whose headers take longer than this."""
    max_files: int = Field(32, ge=1)
    """Largest number of pictures in one request."""
    max_pixels: int = Field(50_000_000, ge=1)
    """Largest picture, in pixels; checked in its header before decoding."""
    deadline_seconds: float = Field(30.0, gt=0)
    """Longest time from the last byte of a request to its answer."""
    max_batch_pixels: int = Field(4 * 512 * 512, ge=1)
    """Largest number of pixels in one session run; a larger picture is translated in tiles."""
    max_queue_pixels: int = Field(64 * 512 * 512, ge=1)
    """Largest number of pixels in pictures that wait or run; pictures in tiles have a separate limit, max_pixels."""

    api_keys: CommaSeparated[Annotated[SecretStr, checked_by(lambda key: check_secret(key.get_secret_value()))]] = ()
    """Keys, comma-separated; a request must send one as `Authorization: Bearer` or `X-API-Key`; empty: open to all."""
    keys_file: Annotated[Path, checked_by(read_keys)] | None = None
    """TOML file with more keys, by name: `[shop]`, `key = "…"` and optionally `rate = "100/minute"`; SIGHUP reloads it."""
    log_format: Literal["auto", "human", "json"] = "auto"
    """How logs are written; auto: human on a terminal, else JSON."""
    slow_seconds: float = Field(10.0, gt=0)
    """A request that takes longer is logged as a warning, with the time of each stage."""

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: Any) -> Any:
        """Refuse misspelled variables, which pydantic would ignore."""
        names = {f"{PREFIX}{name.upper()}" for name in cls.model_fields}
        for variable in sorted(os.environ):
            if variable.upper().startswith(PREFIX) and variable.upper() not in (*names, *CLIENT_VARIABLES):
                near = difflib.get_close_matches(variable, names, 1)
                raise ValueError(f"there is no setting {variable}" + (f": did you mean {near[0]}?" if near else ""))
        return values


def explain(error: ValidationError) -> str:
    """List the invalid variables, each on a line with the reason."""
    return "\n".join(
        f"  {PREFIX + str(each['loc'][0]).upper() + ': ' if each['loc'] else ''}{each['msg'].removeprefix('Value error, ')}"
        for each in error.errors()
        if each["type"] != "default_factory_not_called"
    )


def describe(settings: Settings) -> str:
    """List all settings as environment variables, each below its description."""
    lines = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else value
        lines += [f"# {field.description}", f"{PREFIX}{name.upper()}={shown}", ""]
    return "\n".join(lines)
