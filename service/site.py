"""The page as plain files, for any web server or object store, with no service behind it: it paints on the device only."""

import json
import shutil
from pathlib import Path

from models.bundle import Bundle, BundleError, list_bundles, load_bundle
from service.routes.directions import describe
from service.routes.page import WORKER, release


def write_site(models: Path, output: Path) -> list[str]:
    """Writes page, runtime and the bundles in `models` to the folder `output`, which may exist: a later release is written over
    it, and what browsers still ask for of the earlier one stays. Returns the directions. Raises BundleError where a bundle is not
    sound or there is none."""
    bundles = [load_bundle(folder) for folder in list_bundles(models)]
    if not bundles:
        raise BundleError(f"there is no bundle in {models.resolve()}: export one there, or name another folder")
    current = release()
    for path, file in current.files.items():
        address = current.address(path) + (".gz" if file.is_stored_gzipped else "")
        _copy(file.stored, output / address)
    for bundle in bundles:
        for path in _painting_files(bundle):
            _copy(bundle.folder / path, output / "models" / bundle.direction / path)
    told = [describe(bundle, "fp32", "browser", on_device=True).model_dump(mode="json") for bundle in bundles]
    for direction in told:
        direction["files"] = [file for file in direction["files"] if file["precision"] == "fp32"]
    (output / "directions").write_text(json.dumps(told, ensure_ascii=False))
    (output / WORKER).write_text(current.worker(), encoding="utf-8")
    (output / "index.html").write_text(current.index(server=False), encoding="utf-8")  # last: it names all the others
    return [bundle.direction for bundle in bundles]


def _painting_files(bundle: Bundle) -> list[str]:
    """What a page needs of a bundle: its graphs in fp32, and its samples where it has any."""
    graphs = [file.path for file in bundle.version.files if file.precision == "fp32"]
    samples = [path for path in (bundle.manifest.sample, bundle.manifest.sample_source) if path and (bundle.folder / path).is_file()]
    return graphs + samples


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
