"""The generators that are served: every valid version of every bundle in a folder."""

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

Traffic = dict[str, dict[int, float]]  # by direction and version, the share, 0 to 1, of the requests that name no version


def read_traffic(entries: Sequence[str]) -> Traffic:
    """Parse entries like `photo2monet:3=0.1`: a tenth of the requests for photo2monet go to version 3. Raises ValueError."""
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
            raise ValueError(f"{direction}: each share must be from 0 to 1, and their sum at most 1")
    return traffic


class Catalog:
    """Generators by direction and version. Open bundles in one thread at a time; choose generators in any thread."""

    def __init__(
        self, models: Path, providers: tuple[str, ...], threads: int, precision: str = "auto", devices: Sequence[int] = (0,),
        traffic: Traffic | None = None,
    ) -> None:  # fmt: skip
        self._models = models
        self.providers, self._provider_why = choose_providers(providers)
        self._threads = threads
        self._precision = precision
        self._devices = devices
        self._traffic = traffic or {}
        self._served: dict[str, dict[int, Generator]] = {}
        self._unloaded: set[str] = set()
        self.refused: dict[str, str] = {}  # by bundle, why it or one of its versions is not served

    @property
    def directions(self) -> list[str]:
        return sorted(self._served)

    @property
    def generators(self) -> list[Generator]:
        """All generators, by direction, the newest version first."""
        return [versions[number] for _, versions in sorted(self._served.items()) for number in sorted(versions, reverse=True)]

    def choose(self, direction: str, version: int | None = None, request_id: str = "") -> Generator:
        """Return the given version; else one that has a share of the traffic, chosen by a hash of the request's id; else the newest version
        without a share. Raises UnknownDirection and UnknownVersion."""
        versions = self._served.get(direction)
        if not versions:
            raise UnknownDirection(direction, self.directions)
        if version is not None:
            if version not in versions:
                raise UnknownVersion(direction, version, sorted(versions))
            return versions[version]
        shares = self._traffic.get(direction, {})
        position = int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8]) / 2**64
        for number, share in sorted(shares.items()):
            if position < share and number in versions:
                return versions[number]
            position -= share
        return versions[max([number for number in versions if number not in shares] or versions)]

    def open_new(self, only: str | None = None) -> list[Generator]:
        """Open sessions for all valid versions that are not served yet, or for those of the bundle `only`, which also reverses `unload`.
        Log each invalid bundle; its versions that are served stay. Raises BundleError if there is nothing to serve."""
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
                    except Exception as error:  # ONNX Runtime raises many types
                        problems.append(f"version {bundle.version.version}: {error}")
            if problems:
                self.refuse(name, "; ".join(problems))
        if not opened and not self._served:
            raise BundleError(f"no bundle in {self._models.resolve()} can be served: export one there, or set CYCLEGAN_MODELS")
        for generator in opened:
            why = {"provider_why": self._provider_why, "precision_why": generator.why}
            log.info("bundle opened", model=generator.model, provider=generator.provider, **why)
        return opened

    def refuse(self, name: str, reason: str) -> None:
        self.refused[name] = reason
        log.error("bundle refused", bundle=name, reason=reason)

    def serve(self, generator: Generator) -> None:
        """Serve `generator` from now on. A generator that it replaces finishes its running batches."""
        self._set(generator.direction, self._served.get(generator.direction, {}) | {generator.version: generator})

    def drop_deleted(self) -> None:
        """Stop serving versions that are no longer in the folder. If a manifest cannot be read, its versions stay."""
        for direction, versions in list(self._served.items()):
            folder = self._models / direction
            try:
                existing = {version.version for version in read_manifest(folder).versions} if (folder / MANIFEST).exists() else set()
            except BundleError:
                continue
            if existing and not existing & versions.keys():
                continue  # the manifest changed after `open_new`: serve the old versions until the new ones are loaded
            if deleted := versions.keys() - existing:
                log.info("versions dropped", direction=direction, versions=sorted(deleted))
                self._set(direction, {number: generator for number, generator in versions.items() if number in existing})

    def unload(self, direction: str) -> None:
        """Stop serving a direction until `open_new` names it. Raises UnknownDirection."""
        if direction not in self._served:
            raise UnknownDirection(direction, self.directions)
        self._unloaded.add(direction)
        self._set(direction, {})

    def _set(self, direction: str, versions: dict[int, Generator]) -> None:
        self._served = {name: each for name, each in (self._served | {direction: versions}).items() if each}
        if versions:
            METRICS.version.labels(direction).set(max(versions))
        else:
            METRICS.version.remove(direction)

    def index(self) -> list[dict[str, str]]:
        """List name, version, state (READY or UNAVAILABLE) and reason, as the Open Inference Protocol's repository extension does."""
        ready = [{"name": g.direction, "version": str(g.version), "state": "READY", "reason": ""} for g in self.generators]
        others = dict.fromkeys(self._unloaded, "unloaded") | self.refused
        return ready + [{"name": name, "version": "", "state": "UNAVAILABLE", "reason": reason} for name, reason in sorted(others.items())]
