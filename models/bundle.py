"""The bundle format: what training/ writes and service/ reads. Imports neither.

    <direction>/model.json           the manifest: what the direction is, and its versions
    <direction>/README.md            the model card
    <direction>/config.pbtxt         what NVIDIA's Triton needs to serve the same folder (training/triton.py)
    <direction>/<version>/model.onnx uint8 (n, h, w, 3) RGB in and out; n, h and w dynamic
    <direction>/<version>/int8.onnx  the same in another precision, where the manifest lists one; so also fp16.onnx
    <direction>/<version>/sample.webp what people are shown of it, and sample-source.webp what that was made from
    <direction>/<version>/tiling.onnx the same for tiles: instance norms' statistics in and out, too (training/tiling.py)

A folder that does not match its manifest is refused by name.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

MANIFEST = "model.json"
CARD = "README.md"
Precision = Literal["fp32", "fp16", "int8"]
Device = Literal["any", "cuda", "cpu-vnni"]
Purpose = Literal["pictures", "tiles"]
ONNX = "model.onnx"
TILING = "tiling.onnx"
VERSION_FILE = r"^[0-9]+/[A-Za-z0-9_.-]+$"
FOR_PEOPLE = ("title", "years", "about", "sample", "sample_source")
"""The manifest's fields that a page shows: an export of one more version keeps them."""


class BundleError(Exception):
    """A bundle that cannot be used; the message names the file and what is wrong with it."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelFile(_Entry):
    """One ONNX file of a version."""

    path: str = Field(pattern=VERSION_FILE)
    """Relative to the bundle's folder: `1/model.onnx`."""
    precision: Precision
    """What its convolutions compute in; fp32's weights may be stored as fp16."""
    device: Device
    """Where it is meant to run: fp32 anywhere, fp16 on CUDA, int8 on CPUs with VNNI."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    purpose: Purpose = "pictures"
    """What it translates: whole pictures, or tiles of larger ones."""
    speedup: float | None = Field(None, gt=0)
    """Times as fast as fp32, as measured at export on a CPU with VNNI; None where it was not measured."""


class Version(_Entry):
    """One trained generator: its files, and all that is known of it."""

    version: int = Field(ge=1)
    architecture: str
    trained_size: int = Field(ge=8)
    """Side in pixels of the crops that it was trained on."""
    multiple: int = Field(ge=1)
    """Height and width of the input must be multiples of this …"""
    smallest_side: int = Field(ge=1)
    """… and no smaller than this."""
    files: tuple[ModelFile, ...] = Field(min_length=1)
    training: dict[str, Any]
    """Configuration, seed, steps, counts of pictures, losses at the end."""
    evaluation: dict[str, Any]
    """Figures by name; empty where none were made."""

    @field_validator("files")
    @classmethod
    def _runs_anywhere(cls, files: tuple[ModelFile, ...]) -> tuple[ModelFile, ...]:
        if not any((file.precision, file.device, file.purpose) == ("fp32", "any", "pictures") for file in files):
            raise ValueError("none of them is fp32 for any device")
        return files

    def file(self, precision: Precision, purpose: Purpose = "pictures") -> ModelFile | None:
        """The file that computes in `precision`, if there is one; of fp32 for pictures there always is."""
        return next((file for file in self.files if (file.precision, file.purpose) == (precision, purpose)), None)


class Manifest(_Entry):
    """model.json."""

    schema_version: Literal[1] = 1
    direction: str = Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")
    source: str
    """Domain that it translates from."""
    target: str
    """Domain that it translates to."""
    inverse: str
    """The direction that leads back."""
    licence: str
    """What may be done with the weights."""
    title: str | None = None
    """What a person calls it: `Claude Monet`."""
    years: str | None = None
    """When the painter lived, or the paintings were made: `1840–1926`."""
    about: str | None = None
    """What it makes of a picture, in one sentence."""
    sample: str | None = Field(None, pattern=VERSION_FILE)
    """A small picture that it made …"""
    sample_source: str | None = Field(None, pattern=VERSION_FILE)
    """… and what it was made from, of the same size. Both, like versions' files, relative to the bundle's folder."""
    versions: tuple[Version, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Bundle:
    """A direction on disk, and one version of it: checked against the manifest."""

    folder: Path
    manifest: Manifest
    version: Version

    @property
    def direction(self) -> str:
        return self.manifest.direction

    def path(self, precision: Precision, purpose: Purpose = "pictures") -> Path | None:
        """Where the file is; None where there is none."""
        file = self.version.file(precision, purpose)
        return self.folder / file.path if file else None

    @property
    def onnx(self) -> Path:
        """The file that runs anywhere."""
        path = self.path("fp32")
        assert path is not None
        return path


def list_bundles(models: Path) -> list[Path]:
    """The folders in `models` that hold a manifest, by name."""
    return sorted(path.parent for path in models.glob(f"*/{MANIFEST}"))


def read_manifest(folder: Path) -> Manifest:
    """Raises BundleError where model.json is missing, malformed, or names another direction than its folder."""
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleError(f"{folder} is no bundle, as it has no {MANIFEST}: name the folder of one, like models/photo2monet") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if manifest.direction != folder.resolve().name:
        raise BundleError(f"{path} is the manifest of {manifest.direction}: name its folder so")
    return manifest


def load_versions(folder: Path) -> tuple[list[Bundle], list[str]]:
    """Every version whose files match the manifest, the newest first; and what is wrong with the others. Raises BundleError where
    the manifest itself cannot be used."""
    manifest = read_manifest(folder)
    sound: list[Bundle] = []
    problems: list[str] = []
    for version in sorted(manifest.versions, key=lambda v: v.version, reverse=True):
        mismatches = [problem for file in version.files if (problem := _mismatch(folder, file))]
        problems += mismatches
        if not mismatches:
            sound.append(Bundle(folder, manifest, version))
    return sound, problems


def load_bundle(folder: Path) -> Bundle:
    """The newest version whose files match the manifest. Raises BundleError, which says why none does."""
    sound, problems = load_versions(folder)
    if not sound:
        raise BundleError("; ".join(problems))
    return sound[0]


def load_pair(folder: Path) -> list[Bundle]:
    """The bundle and, where it stands beside it, the one that leads back. Raises BundleError."""
    bundle = load_bundle(folder)
    inverse = folder.resolve().with_name(bundle.manifest.inverse)
    return [bundle, load_bundle(inverse)] if (inverse / MANIFEST).exists() else [bundle]


def _mismatch(folder: Path, file: ModelFile) -> str | None:
    path = folder / file.path
    if not path.is_file():
        return f"{path} is in the manifest but not in the bundle"
    if sha256_of(path.read_bytes()) != file.sha256:
        return f"{path} does not match the sha256 in {MANIFEST}: export or copy it again"
    return None


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_version(folder: Path, manifest: Manifest, files: list[bytes], beside: dict[str, bytes]) -> Bundle:
    """Add the manifest's one version to the bundle in `folder`, its `files` in their order, and those `beside` it by name (the
    card and its pictures). The manifest comes last and at once, so that a service that reads meanwhile sees the old bundle or the new."""
    (version,) = manifest.versions
    if (folder / MANIFEST).exists():
        earlier = read_manifest(folder)
        kept = {name: getattr(manifest, name) or getattr(earlier, name) for name in FOR_PEOPLE}
        manifest = manifest.model_copy(update={"versions": (*earlier.versions, version), **kept})

    for file, content in zip(version.files, files, strict=True):
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)  # an export that was cut off may have left it
        (folder / file.path).write_bytes(content)
    for name, content in beside.items():
        (folder / name).write_bytes(content)
    unfinished = folder / f"{MANIFEST}.tmp"
    unfinished.write_text(manifest.model_dump_json(indent=2) + "\n")
    unfinished.replace(folder / MANIFEST)
    return load_bundle(folder)


def next_version(folder: Path) -> int:
    """The number for one more version: one above the newest, 1 in an empty folder."""
    return max((v.version for v in read_manifest(folder).versions), default=0) + 1 if (folder / MANIFEST).exists() else 1
