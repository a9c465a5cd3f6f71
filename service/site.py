"""Write the page as static files for any web server or object store. Without a service, it translates on the user's device only."""

import json
import shutil
from pathlib import Path

from models.bundle import BundleError, list_bundles, load_bundle
from service.routes.directions import describe
from service.routes.page import WORKER, release


def write_site(models: Path, output: Path) -> list[str]:
    """Write the page, the runtime and the bundles in `models` to the folder `output`, and return the directions. Writing over an earlier
    release keeps its files, which browsers may still request. Raises BundleError if a bundle is invalid or there is none."""
    bundles = [load_bundle(folder) for folder in list_bundles(models)]
    if not bundles:
        raise BundleError(f"there is no bundle in {models.resolve()}: export one there, or name another folder")
    current = release()
    for path, file in current.files.items():
        _copy(file.stored, output / (current.address(path) + (".gz" if file.is_stored_gzipped else "")))
    directions = []
    for bundle in bundles:
        samples = [path for path in (bundle.manifest.sample, bundle.manifest.sample_source) if path and (bundle.folder / path).is_file()]
        for path in [file.path for file in bundle.version.files if file.precision == "fp32"] + samples:
            _copy(bundle.folder / path, output / "models" / bundle.direction / path)
        direction = describe(bundle, "fp32", "browser", on_device=True).model_dump(mode="json")
        directions.append(direction | {"files": [file for file in direction["files"] if file["precision"] == "fp32"]})
    (output / "directions").write_text(json.dumps(directions, ensure_ascii=False))
    (output / WORKER).write_text(current.worker(), encoding="utf-8")
    (output / "index.html").write_text(current.index(server=False), encoding="utf-8")  # last, since it refers to all other files
    return [bundle.direction for bundle in bundles]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
