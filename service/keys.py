"""Who may ask, and how often: keys with names and rates. Each process counts for itself."""

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
    """Raises ValueError for what cannot be sent in a header as it is."""
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError("a key is of printable ASCII characters without spaces, since it is sent in a header")
    return secret


def check_rate(rate: str) -> str:
    try:
        limits.parse(rate)
    except ValueError:
        raise ValueError(f"{rate!r} is no rate: write it like 10/second, 100/minute or 5000/day") from None
    return rate


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, AfterValidator(check_secret)]
    rate: Annotated[str, AfterValidator(check_rate)] | None = None


_FILE = TypeAdapter(dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")], _Entry])


@dataclass(frozen=True)
class Key:
    name: str
    """For the log and the metrics, where the key itself must not be."""
    secret: str
    rate: limits.RateLimitItem | None = None


@dataclass(frozen=True)
class Spent:
    """One more request of a key, and what is left of its rate."""

    within: bool
    seconds: int
    """Until there is more."""
    headers: dict[str, str]
    """https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/"""


class Keys:
    """Those of CYCLEGAN_API_KEYS, and those of CYCLEGAN_KEYS_FILE, which can be read again."""

    def __init__(self, secrets: Sequence[str], file: Path | None) -> None:
        """Raises ValueError for a file that cannot be used."""
        self._fixed = [Key(f"api-key-{number}", secret) for number, secret in enumerate(secrets, start=1)]
        self._file = file
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self.reload()

    def reload(self) -> None:
        """Read the file again. Raises ValueError where it cannot be used; then the keys stay as they were."""
        self._keys = self._fixed + (read_keys(self._file) if self._file else [])

    @property
    def open_to_all(self) -> bool:
        return not self._fixed and self._file is None

    def find(self, sent: str) -> Key | None:
        """The key that was sent, in a time that does not tell how much of it was right."""
        fitting = [key for key in self._keys if hmac.compare_digest(key.secret.encode(), sent.encode())]
        return fitting[0] if fitting else None

    def spend(self, key: Key) -> Spent | None:
        """None where the key has no rate."""
        if key.rate is None:
            return None
        within = self._limiter.hit(key.rate, key.name)
        reset, left = self._limiter.get_window_stats(key.rate, key.name)
        seconds = max(1, math.ceil(reset - time.time()))
        policy = f'"{key.name}";q={key.rate.amount};w={key.rate.get_expiry()}'
        return Spent(within, seconds, {"RateLimit-Policy": policy, "RateLimit": f'"{key.name}";r={left};t={seconds}'})


def read_keys(file: Path) -> list[Key]:
    """Of a TOML file, by name: `[shop]`, and below it `key = "…"` and, for a limit, `rate = "100/minute"`. Raises ValueError."""
    try:
        entries = _FILE.validate_python(tomllib.loads(file.read_text()))
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except ValidationError as error:  # whose own text would show the keys
        wrong = error.errors(include_input=False)[0]
        raise ValueError(f"{file}: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from None
    except ValueError as error:
        raise ValueError(f"{file} is not TOML: {error}") from None
    return [Key(name, entry.key, limits.parse(entry.rate) if entry.rate else None) for name, entry in entries.items()]
