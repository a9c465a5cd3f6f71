"""Which bundles are served, and on what."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from models.bundle import MANIFEST, BundleError
from service.engine.catalog import Catalog, read_traffic
from service.engine.sessions import CPU, choose_providers
from service.errors import UnknownDirection, UnknownVersion
from tests.conftest import ROOT, pair
from tests.service.test_reload import add_version


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the pair."""
    return shutil.copytree(pair(), tmp_path / "models")


def load(models: Path, traffic: Sequence[str] = ()) -> tuple[Catalog, list]:
    catalog = Catalog(models, (CPU,), threads=1, traffic=read_traffic(traffic))
    return catalog, open_new(catalog)


def open_new(catalog: Catalog) -> list:
    """The log of serving what is new."""
    with capture_logs() as logs:
        for generator in catalog.open_new():
            catalog.serve(generator)
    return logs


def test_the_log_says_what_each_runs_on_and_why(models: Path) -> None:
    catalog, logs = load(models)
    assert catalog.directions == ["monet2photo", "photo2monet"]
    opened = [line for line in logs if line["event"] == "bundle opened"]
    assert {(line["provider"], line["provider_why"]) for line in opened} == {(CPU, "CYCLEGAN_PROVIDERS says so")}
    assert all(line["precision_why"] for line in opened)


def test_a_batch_gives_the_same_bytes_as_its_pictures_one_by_one(models: Path) -> None:
    generator = load(models)[0].choose("photo2monet")
    pictures = np.random.default_rng(0).integers(0, 256, (4, 72, 100, 3), np.uint8)
    assert (generator.run(pictures) == np.concatenate([generator.run(picture[None]) for picture in pictures])).all()


def test_a_bundle_that_does_not_match_its_manifest_is_refused_by_name_and_the_other_is_served(models: Path) -> None:
    newest = max((models / "monet2photo").glob("*/model.onnx"))
    newest.write_bytes(newest.read_bytes() + b"x")
    catalog, logs = load(models)
    assert "photo2monet" in catalog.directions
    refused = next(line for line in logs if line["event"] == "bundle refused")
    assert refused["bundle"] == "monet2photo"
    assert "sha256" in refused["reason"]


def test_what_is_already_served_is_not_loaded_again(models: Path) -> None:
    catalog, _ = load(models)
    before = catalog.generators
    assert open_new(catalog) == []
    assert catalog.generators == before


def test_a_graph_that_onnx_runtime_does_not_take_is_refused_by_name(models: Path) -> None:
    manifest = json.loads((models / "monet2photo" / "model.json").read_text())
    file = manifest["versions"][-1]["files"][0]
    (models / "monet2photo" / file["path"]).write_bytes(b"not a graph")
    file["sha256"] = hashlib.sha256(b"not a graph").hexdigest()
    (models / "monet2photo" / "model.json").write_text(json.dumps(manifest))
    catalog, logs = load(models)
    assert "photo2monet" in catalog.directions
    assert logs[0]["bundle"] == "monet2photo"


def test_nothing_to_serve_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="CYCLEGAN_MODELS"):
        Catalog(tmp_path, (CPU,), threads=1).open_new()


def test_provider_is_chosen_with_a_reason() -> None:
    providers, why = choose_providers(("auto",))
    assert providers[-1] == CPU
    assert why


def test_the_service_imports_neither_torch_nor_training() -> None:
    program = "import sys, service.app; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'training', 'onnx')])"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True).strip() == "[]"


def test_versions_of_a_direction_stand_side_by_side_and_the_newest_is_the_default(models: Path) -> None:
    newer = add_version(models / "photo2monet", sound=True)
    catalog, _ = load(models)
    assert catalog.choose("photo2monet").version == newer
    assert catalog.choose("photo2monet", newer - 1).version == newer - 1
    with pytest.raises(UnknownVersion, match=str(newer)):
        catalog.choose("photo2monet", 99)


def test_a_version_gets_its_share_of_the_requests_and_each_request_the_same_one_again(models: Path) -> None:
    newer = add_version(models / "photo2monet", sound=True)
    catalog, _ = load(models, [f"photo2monet:{newer}=0.25"])
    versions = [catalog.choose("photo2monet", request_id=str(number)).version for number in range(2000)]
    assert Counter(versions)[newer] == pytest.approx(500, abs=80)
    assert versions == [catalog.choose("photo2monet", request_id=str(number)).version for number in range(2000)]
    assert catalog.choose("photo2monet", newer, "0").version == newer


@pytest.mark.parametrize("entry", ["photo2monet=0.1", "photo2monet:x=0.1", "photo2monet:1=2", "photo2monet"])
def test_traffic_that_cannot_be_read_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="photo2monet"):
        read_traffic([entry])


def test_what_was_deleted_is_not_served_any_more_and_what_cannot_be_read_is(models: Path) -> None:
    catalog, _ = load(models)
    shutil.rmtree(models / "monet2photo")
    (models / "photo2monet" / "model.json").write_text("half writ")
    catalog.drop_deleted()
    assert "photo2monet" in catalog.directions
    with pytest.raises(UnknownDirection):
        catalog.choose("monet2photo")


def test_the_metric_tells_the_newest_version_that_is_still_served(models: Path) -> None:
    def told() -> float | None:
        return REGISTRY.get_sample_value("cyclegan_bundle_version", {"direction": "photo2monet"})

    newer = add_version(models / "photo2monet", sound=True)
    catalog, _ = load(models)
    assert told() == newer
    manifest = models / "photo2monet" / MANIFEST
    older = json.loads(manifest.read_text())
    older["versions"] = [version for version in older["versions"] if version["version"] != newer]
    manifest.write_text(json.dumps(older))
    catalog.drop_deleted()
    assert told() == newer - 1
    catalog.unload("photo2monet")
    assert told() is None


def test_a_direction_is_unloaded_by_name_until_it_is_asked_for_again(models: Path) -> None:
    catalog, _ = load(models)
    catalog.unload("monet2photo")
    assert {(entry["name"], entry["state"]) for entry in catalog.index()} == {("photo2monet", "READY"), ("monet2photo", "UNAVAILABLE")}
    assert catalog.open_new() == []
    assert [generator.direction for generator in catalog.open_new("monet2photo")] == ["monet2photo"]
    with pytest.raises(UnknownDirection):
        catalog.unload("photo2cezanne")


def test_a_bundle_that_changes_while_it_is_read_again_stays_served(models: Path) -> None:
    catalog = Catalog(models, (CPU,), threads=1)
    for generator in catalog.open_new():
        catalog.serve(generator)
    manifest = models / "photo2monet" / MANIFEST
    newer = json.loads(manifest.read_text())
    newer["versions"] = [newer["versions"][-1] | {"version": 9}]
    manifest.write_text(json.dumps(newer))
    catalog.drop_deleted()
    assert "photo2monet" in catalog.directions
