"""The bundle format, which training/ writes and service/ reads. This file imports neither of them.

    <direction>/model.json           the manifest: what the direction is, and its versions
    <direction>/README.md            the model card
    <direction>/config.pbtxt         lets NVIDIA's Triton serve the same folder (training/triton.py)
    <direction>/<version>/model.onnx uint8 (n, h, w, 3) RGB in and out; n, h and w dynamic
    <direction>/<version>/int8.onnx  optional: the same in INT8, or in fp16 (fp16.onnx)
    <direction>/<version>/tiling.onnx optional: the same for tiles, with the instance norms' statistics in and out (training/tiling.py)
    <direction>/<version>/sample.webp optional: a translation for the page, and sample-source.webp, its source

A version whose files do not match the manifest is refused, with a message that names the file.
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
DISPLAY_FIELDS = ("title", "years", "about", "sample", "sample_source")
"""The manifest's fields that the page shows. Exporting another version keeps them."""


class BundleError(Exception):
    """A bundle that cannot be used. The message names the file and what is wrong with it."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelFile(_Entry):
    """One ONNX file of a version."""

    path: str = Field(pattern=VERSION_FILE)
    """Relative to the bundle's folder, like `1/model.onnx`."""
    precision: Precision
    """The precision of its convolutions. The weights of fp32 may be stored as fp16."""
    device: Device
    """The device that it is for: fp32 for any, fp16 for CUDA, int8 for CPUs with VNNI."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    purpose: Purpose = "pictures"
    """Whether it translates whole pictures or tiles of large ones."""
    speedup: float | None = Field(None, gt=0)
    """Speed relative to fp32, measured at export on a CPU with VNNI; None if not measured."""


class Version(_Entry):
    """One trained generator: its files and everything that is recorded about it."""

    version: int = Field(ge=1)
    architecture: str
    trained_size: int = Field(ge=8)
    """Side of the training crops, in pixels."""
    multiple: int = Field(ge=1)
    """Height and width of the input must be multiples of this."""
    smallest_side: int = Field(ge=1)
    """Height and width of the input must be at least this."""
    files: tuple[ModelFile, ...] = Field(min_length=1)
    training: dict[str, Any]
    """Configuration, seed, steps, numbers of pictures, losses."""
    evaluation: dict[str, Any]
    """Figures by name; empty if it was not evaluated."""

    @field_validator("files")
    @classmethod
    def _require_fp32(cls, files: tuple[ModelFile, ...]) -> tuple[ModelFile, ...]:
        if not any((file.precision, file.device, file.purpose) == ("fp32", "any", "pictures") for file in files):
            raise ValueError("none of them is fp32 for any device")
        return files

    def file(self, precision: Precision, purpose: Purpose = "pictures") -> ModelFile | None:
        """Return the file for `precision` and `purpose`, if there is one. There is always one for fp32 and pictures."""
        return next((file for file in self.files if (file.precision, file.purpose) == (precision, purpose)), None)


class Manifest(_Entry):
    """The content of model.json."""

    schema_version: Literal[1] = 1
    direction: str = Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")
    source: str
    """The domain that it translates from."""
    target: str
    """The domain that it translates to."""
    inverse: str
    """The opposite direction."""
    licence: str
    """What may be done with the weights."""
    title: str | None = None
    """A name for people, like `Claude Monet`."""
    years: str | None = None
    """The years of the painter or the paintings, like `1840–1926`."""
    about: str | None = None
    """One sentence about what it does to a picture."""
    sample: str | None = Field(None, pattern=VERSION_FILE)
    """A small translation to show, relative to the bundle's folder."""
    sample_source: str | None = Field(None, pattern=VERSION_FILE)
    """The source of `sample`, of the same size."""
    versions: tuple[Version, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Bundle:
    """One version of a direction on disk, checked against the manifest."""

    folder: Path
    manifest: Manifest
    version: Version

    @property
    def direction(self) -> str:
        return self.manifest.direction

    def path(self, precision: Precision, purpose: Purpose = "pictures") -> Path | None:
        """Return the path of a file; None if the version has none."""
        file = self.version.file(precision, purpose)
        return self.folder / file.path if file else None

    @property
    def onnx(self) -> Path:
        """The fp32 file, which runs on any device."""
        path = self.path("fp32")
        assert path is not None
        return path


def list_bundles(models: Path) -> list[Path]:
    """Return the folders in `models` that have a manifest, sorted by name."""
    return sorted(path.parent for path in models.glob(f"*/{MANIFEST}"))


def read_manifest(folder: Path) -> Manifest:
    """Read model.json. Raises BundleError if it is missing, malformed, or its direction is not the folder's name."""
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleError(f"{folder} is not a bundle, because it has no {MANIFEST}: give a folder like models/photo2monet") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if manifest.direction != folder.resolve().name:
        raise BundleError(f"{path} is the manifest of {manifest.direction}: rename its folder to that")
    return manifest


def load_versions(folder: Path) -> tuple[list[Bundle], list[str]]:
    """Return every version whose files match the manifest, newest first, and the problems of the others. Raises BundleError if the manifest
    itself cannot be used."""
    manifest = read_manifest(folder)
    valid: list[Bundle] = []
    problems: list[str] = []
    for version in sorted(manifest.versions, key=lambda v: v.version, reverse=True):
        mismatches = [problem for file in version.files if (problem := _mismatch(folder, file))]
        problems += mismatches
        if not mismatches:
            valid.append(Bundle(folder, manifest, version))
    return valid, problems


def load_bundle(folder: Path) -> Bundle:
    """Return the newest version whose files match the manifest. Raises BundleError if there is none."""
    valid, problems = load_versions(folder)
    if not valid:
        raise BundleError("; ".join(problems))
    return valid[0]


def load_pair(folder: Path) -> list[Bundle]:
    """Return the bundle and, if there is one next to it, the bundle of the opposite direction. Raises BundleError."""
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


def write_version(folder: Path, manifest: Manifest, files: list[bytes], other_files: dict[str, bytes]) -> Bundle:
    """Add the manifest's only version to the bundle in `folder`.

    `files` are the contents of the version's files, in order; `other_files` are the card and its pictures, by name. The manifest is
    replaced last, atomically, so that a running service sees either the old or the new bundle.
    """
    (version,) = manifest.versions
    if (folder / MANIFEST).exists():
        existing = read_manifest(folder)
        display = {name: getattr(manifest, name) or getattr(existing, name) for name in DISPLAY_FIELDS}
        manifest = manifest.model_copy(update={"versions": (*existing.versions, version), **display})

    for file, content in zip(version.files, files, strict=True):
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)  # may exist after an interrupted export
        (folder / file.path).write_bytes(content)
    for name, content in other_files.items():
        (folder / name).write_bytes(content)
    temporary = folder / f"{MANIFEST}.tmp"
    temporary.write_text(manifest.model_dump_json(indent=2) + "\n")
    temporary.replace(folder / MANIFEST)
    return load_bundle(folder)


def next_version(folder: Path) -> int:
    """Return the number for another version: one above the newest, or 1."""
    return max((v.version for v in read_manifest(folder).versions), default=0) + 1 if (folder / MANIFEST).exists() else 1
