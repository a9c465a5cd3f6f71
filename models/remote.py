"""Push bundles to, and pull them from, any URL that fsspec supports, like https://, s3:// or the Hugging Face hub's hf://.

Every file of a version is checked against the sha256 in its manifest. The manifest is written last, so that a running service sees either
the old or the new bundle. https://filesystem-spec.readthedocs.io, https://huggingface.co/docs/huggingface_hub
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from models.bundle import CARD, MANIFEST, Bundle, BundleError, Manifest, load_bundle, read_manifest, sha256_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

EXTRA_FILES = (CARD, "config.pbtxt", "samples.jpg", "int8.jpg", "sheet.jpg")
"""Optional files next to a manifest, which are also transferred."""
EXTRA_VERSION_FILES = ("sample.webp", "sample-source.webp")
"""Optional files in a version's folder."""
HUB = "hf://"


def is_url(models: str | Path) -> bool:
    return "://" in str(models)


def local_models(models: str | Path, cache: Path | None = None) -> Path:
    """Return the local folder of `models`. Bundles at a URL are pulled into a folder below `cache`, except for
    files that are already there. Raises BundleError."""
    if not is_url(models):
        return Path(models)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = (cache or home / "cyclegan") / hashlib.sha256(str(models).encode()).hexdigest()[:16]
    pull(str(models), folder)
    return folder


def pull(url: str, models: Path) -> list[Bundle]:
    """Pull the bundle at `url`, or all bundles in the folder at `url`, into `models`. Raises BundleError."""
    system, root = _open_filesystem(url)
    with _storage_errors(url):
        folders = [root] if system.exists(f"{root}/{MANIFEST}") else list(_bundle_folders(system, root))
        if not folders:
            raise BundleError(f"{url} has no bundle: give a bundle's folder (with {MANIFEST}), or a folder of bundles")
        return [_pull_bundle(system, folder, models) for folder in folders]


def push(folder: Path, url: str) -> None:
    """Push the bundle in `folder` to a folder of the same name at `url`. A missing repository on the hub is created. Raises BundleError."""
    bundle = load_bundle(folder)
    names = [file.path for version in bundle.manifest.versions for file in version.files if (folder / file.path).is_file()]
    names += [name for name in _extra_files(bundle.manifest) if (folder / name).is_file()]
    with _storage_errors(url):
        if url.startswith(HUB):
            _push_to_hub(folder, url, [*names, MANIFEST])
            return
        system, root = _open_filesystem(url)
        for name in (*names, MANIFEST):
            target = f"{root}/{bundle.direction}/{name}"
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.pipe_file(target, (folder / name).read_bytes())


def _push_to_hub(folder: Path, url: str, names: list[str]) -> None:
    """Upload everything in one commit."""
    from huggingface_hub import HfApi

    owner, _, rest = url.removeprefix(HUB).partition("/")
    name, _, below = rest.strip("/").partition("/")
    if not owner or not name:
        raise BundleError(f"{url}: give a repository of the hub, like {HUB}you/paintings")
    hub = HfApi()
    hub.create_repo(f"{owner}/{name}", exist_ok=True)
    path_in_repo = "/".join(part for part in (below, folder.resolve().name) if part)
    hub.upload_folder(
        repo_id=f"{owner}/{name}", folder_path=folder, path_in_repo=path_in_repo, allow_patterns=names,
        commit_message=f"Upload {folder.resolve().name}",
    )  # fmt: skip


def _pull_bundle(system: "AbstractFileSystem", root: str, models: Path) -> Bundle:
    content = system.cat_file(f"{root}/{MANIFEST}")
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise BundleError(f"{root}/{MANIFEST}: {error.errors()[0]['msg']}") from error
    folder = models / manifest.direction
    for file in (file for version in manifest.versions for file in version.files):
        path = folder / file.path
        if path.is_file() and sha256_of(path.read_bytes()) == file.sha256:
            continue
        downloaded = system.cat_file(f"{root}/{file.path}")
        if sha256_of(downloaded) != file.sha256:
            raise BundleError(f"{root}/{file.path} does not match the sha256 in {MANIFEST}: it was changed or truncated in transfer")
        _write(path, downloaded)
    for name in _extra_files(manifest):
        if system.exists(f"{root}/{name}"):
            _write(folder / name, system.cat_file(f"{root}/{name}"))
    if not (folder / MANIFEST).is_file() or (folder / MANIFEST).read_bytes() != content:
        _write(folder / MANIFEST, content)
    read_manifest(folder)
    return load_bundle(folder)


def _extra_files(manifest: Manifest) -> list[str]:
    return [*EXTRA_FILES, *(f"{version.version}/{name}" for version in manifest.versions for name in EXTRA_VERSION_FILES)]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _bundle_folders(system: "AbstractFileSystem", root: str) -> Iterator[str]:
    """Yield the folders in `root` that have a manifest."""
    for entry in sorted(entry["name"].rstrip("/") for entry in system.ls(root, detail=True) if entry["type"] == "directory"):
        if system.exists(f"{entry}/{MANIFEST}"):
            yield entry


def _open_filesystem(url: str) -> tuple[Any, str]:
    try:
        import fsspec

        system, root = fsspec.url_to_fs(url)
    except ImportError as error:  # fsspec itself, or a package that it needs for this protocol
        raise BundleError(f"{url}: {error}: pip install 'cyclegan-service[hub]' (and s3fs for s3://, gcsfs for gs://)") from error
    except ValueError as error:
        raise BundleError(f"{url}: {error}") from error
    return system, root.rstrip("/")


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    """Raise a BundleError for any exception, because each storage has its own."""
    try:
        yield
    except BundleError:
        raise
    except Exception as error:
        raise BundleError(f"{url}: {' '.join(str(error).split()) or type(error).__name__}") from error
