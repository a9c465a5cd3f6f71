"""API keys with names and rate limits. Each process counts requests for itself."""

import hmac
import math
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import limits
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError


def check_secret(secret: str) -> str:
    """Raise ValueError for a key that cannot be sent in a header unchanged."""
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError("a key must consist of printable ASCII characters without spaces, since it is sent in a header")
    return secret


def check_rate(rate: str) -> str:
    try:
        limits.parse(rate)
    except ValueError:
        raise ValueError(f"{rate!r} is not a rate: write it like 10/second, 100/minute or 5000/day") from None
    return rate


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, AfterValidator(check_secret)]
    rate: Annotated[str, AfterValidator(check_rate)] | None = None


_FILE = TypeAdapter(dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")], _Entry])


@dataclass(frozen=True)
class Key:
    name: str  # for the log and the metrics, where the secret must not appear
    secret: str
    rate: limits.RateLimitItem | None = None


@dataclass(frozen=True)
class Usage:
    """The state of a key's rate limit after a request."""

    allowed: bool
    seconds: int  # until the limit is reset
    headers: dict[str, str]  # https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/


class Keys:
    """The keys of CYCLEGAN_API_KEYS and those of CYCLEGAN_KEYS_FILE, which can be reloaded."""

    def __init__(self, secrets: Sequence[str], file: Path | None) -> None:
        """Raises ValueError for an invalid file."""
        self._fixed = [Key(f"api-key-{number}", secret) for number, secret in enumerate(secrets, start=1)]
        self._file = file
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self.reload()

    def reload(self) -> None:
        """Read the file again. Raises ValueError for an invalid file, and keeps the keys as they were."""
        self._keys = self._fixed + (read_keys(self._file) if self._file else [])

    @property
    def open_to_all(self) -> bool:
        return not self._fixed and self._file is None

    def find(self, secret: str) -> Key | None:
        """Return the key with this secret, in a time that does not reveal how much of the secret was right."""
        matches = [key for key in self._keys if hmac.compare_digest(key.secret.encode(), secret.encode())]
        return matches[0] if matches else None

    def count_request(self, key: Key) -> Usage | None:
        """Count a request against the key's rate. Returns None for a key without a rate."""
        if key.rate is None:
            return None
        allowed = self._limiter.hit(key.rate, key.name)
        reset, remaining = self._limiter.get_window_stats(key.rate, key.name)
        seconds = max(1, math.ceil(reset - time.time()))
        policy = f'"{key.name}";q={key.rate.amount};w={key.rate.get_expiry()}'
        return Usage(allowed, seconds, {"RateLimit-Policy": policy, "RateLimit": f'"{key.name}";r={remaining};t={seconds}'})


def read_keys(file: Path) -> list[Key]:
    """Read a TOML file with a table for each key: `[shop]`, `key = "…"` and optionally `rate = "100/minute"`. Raises ValueError."""
    try:
        entries = _FILE.validate_python(tomllib.loads(file.read_text()))
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except ValidationError as error:  # its own text would show the keys
        first = error.errors(include_input=False)[0]
        raise ValueError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise ValueError(f"{file} is not TOML: {error}") from None
    return [Key(name, entry.key, limits.parse(entry.rate) if entry.rate else None) for name, entry in entries.items()]
