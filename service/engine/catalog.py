"""Which generators are served: every sound version of every bundle in a folder."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import structlog

from models.bundle import MANIFEST, BundleError, list_bundles, load_versions, read_manifest
from service.engine.generator import Generator
from service.engine.sessions import choose_providers
from service.errors import UnknownDirection, UnknownVersion
from service.telemetry import METRICS

log = structlog.get_logger()

Traffic = dict[str, dict[int, float]]
"""By direction and version: the share of requests, 0 to 1, that ask for no version and get this one."""


def read_traffic(entries: Sequence[str]) -> Traffic:
    """`photo2monet:3=0.1`: a tenth of the requests for photo2monet goes to version 3. Raises ValueError."""
    traffic: Traffic = {}
    for entry in entries:
        try:
            name, share = entry.split("=")
            direction, version = name.split(":")
            traffic.setdefault(direction.strip(), {})[int(version)] = float(share)
        except ValueError:
            raise ValueError(f"{entry}: write direction:version=share, like photo2monet:3=0.1") from None
    for direction, shares in traffic.items():
        if not all(0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1:
            raise ValueError(f"{direction}: shares are from 0 to 1, and together no more than 1")
    return traffic


class Catalog:
    """What is served, by direction and version. Opened in one thread at a time, chosen from in any."""

    def __init__(
        self, models: Path, providers: tuple[str, ...], threads: int, precision: str = "auto", devices: Sequence[int] = (0,),
        traffic: Traffic | None = None,
    ) -> None:  # fmt: skip
        self._models = models
        self.providers, self._why = choose_providers(providers)
        self._threads = threads
        self._precision = precision
        self._devices = devices
        self._traffic = traffic or {}
        self._served: dict[str, dict[int, Generator]] = {}
        self._unloaded: set[str] = set()
        self.refused: dict[str, str] = {}
        """By bundle: why it, or some version of it, is not served."""

    @property
    def directions(self) -> list[str]:
        return sorted(self._served)

    @property
    def generators(self) -> list[Generator]:
        """All of them, by direction, the newest version first."""
        return [self._served[direction][version] for direction in self.directions for version in sorted(self._served[direction])[::-1]]

    def choose(self, direction: str, version: int | None = None, request_id: str = "") -> Generator:
        """The `version` that is asked for; else one to which a share of the traffic goes, by a hash of the request's id; else the
        newest that has no share of its own. Raises UnknownDirection and UnknownVersion."""
        versions = self._served.get(direction)
        if not versions:
            raise UnknownDirection(direction, self.directions)
        if version is not None:
            if version not in versions:
                raise UnknownVersion(direction, version, sorted(versions))
            return versions[version]
        shares = self._traffic.get(direction, {})
        place = int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8]) / 2**64
        for shared, share in sorted(shares.items()):
            if place < share and shared in versions:
                return versions[shared]
            place -= share
        return versions[max([number for number in versions if number not in shares] or versions)]

    def open_new(self, only: str | None = None) -> list[Generator]:
        """Sessions of what is sound and not served yet; of one bundle where `only` it is asked for. What is not sound is logged by
        name, and leaves what is served of it in service. Raises BundleError where there is nothing to serve at all."""
        if only:
            self._unloaded.discard(only)
        opened: list[Generator] = []
        for folder in list_bundles(self._models):
            name = folder.name
            if name in self._unloaded or (only and name != only):
                continue
            self.refused.pop(name, None)
            try:
                bundles, problems = load_versions(folder)
            except BundleError as error:
                bundles, problems = [], [str(error)]
            for bundle in bundles:
                served = self._served.get(name, {}).get(bundle.version.version)
                if served is None or served.bundle.version != bundle.version:
                    try:
                        opened.append(Generator(bundle, self.providers, self._threads, self._precision, self._devices))
                    except Exception as error:  # of ONNX Runtime's many
                        problems.append(f"version {bundle.version.version}: {error}")
            if problems:
                self.refuse(name, "; ".join(problems))
        if not opened and not self._served:
            raise BundleError(f"no bundle in {self._models.resolve()} can be served: export one there, or set CYCLEGAN_MODELS")
        for generator in opened:
            log.info(
                "bundle opened", model=generator.model, provider=generator.provider, provider_why=self._why, precision_why=generator.why
            )
        return opened

    def refuse(self, name: str, reason: str) -> None:
        self.refused[name] = reason
        log.error("bundle refused", bundle=name, reason=reason)

    def serve(self, generator: Generator) -> None:
        """In the place of what was served of its version; what runs there ends undisturbed."""
        self._set(generator.direction, self._served.get(generator.direction, {}) | {generator.version: generator})

    def drop_deleted(self) -> None:
        """No more of what is not in the folder any more. A manifest that cannot be read leaves its versions in service."""
        for direction, versions in list(self._served.items()):
            folder = self._models / direction
            try:
                there = {version.version for version in read_manifest(folder).versions} if (folder / MANIFEST).exists() else set()
            except BundleError:
                continue
            if there and not there & versions.keys():
                continue  # it was changed again meanwhile: until that is loaded, what is served stays
            if gone := versions.keys() - there:
                log.info("versions dropped", direction=direction, versions=sorted(gone))
                self._keep(direction, there)

    def unload(self, direction: str) -> None:
        """All its versions, until it is asked for again. Raises UnknownDirection."""
        if direction not in self._served:
            raise UnknownDirection(direction, self.directions)
        self._unloaded.add(direction)
        self._keep(direction, set())

    def _keep(self, direction: str, versions: set[int]) -> None:
        self._set(direction, {number: generator for number, generator in self._served[direction].items() if number in versions})

    def _set(self, direction: str, versions: dict[int, Generator]) -> None:
        self._served = {name: each for name, each in (self._served | {direction: versions}).items() if each}
        if versions:
            METRICS.version.labels(direction).set(max(versions))
        else:
            METRICS.version.remove(direction)

    def index(self) -> list[dict[str, str]]:
        """As the Open Inference Protocol's repository extension has it: name, version, state and reason."""
        ready = [{"name": g.direction, "version": str(g.version), "state": "READY", "reason": ""} for g in self.generators]
        others = dict.fromkeys(self._unloaded, "unloaded") | self.refused
        return ready + [{"name": name, "version": "", "state": "UNAVAILABLE", "reason": reason} for name, reason in sorted(others.items())]
