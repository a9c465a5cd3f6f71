"""Which bundles are served, and on what."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from models.bundle import BundleError
from service.engine.catalog import Catalog
from service.engine.sessions import CPU, choose_providers
from tests.conftest import ROOT, pair


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the pair."""
    return shutil.copytree(pair(), tmp_path / "models")


def load(models: Path) -> tuple[Catalog, list]:
    catalog = Catalog(models, (CPU,), threads=1)
    return catalog, open_new(catalog)


def open_new(catalog: Catalog) -> list:
    """The log of serving what is new."""
    with capture_logs() as logs:
        for generator in catalog.open_new():
            catalog.serve(generator)
    return logs


def test_one_log_line_says_what_it_runs_on_and_why(models: Path) -> None:
    catalog, logs = load(models)
    assert catalog.directions == ["monet2photo", "photo2monet"]
    loaded = [line for line in logs if line["event"] == "directions loaded"]
    assert [(line["provider"], line["why"]) for line in loaded] == [(CPU, "CYCLEGAN_PROVIDERS says so")]


def test_a_batch_gives_the_same_bytes_as_its_pictures_one_by_one(models: Path) -> None:
    generator = load(models)[0].generators["photo2monet"]
    pictures = np.random.default_rng(0).integers(0, 256, (4, 72, 100, 3), np.uint8)
    assert (generator.run(pictures) == np.concatenate([generator.run(picture[None]) for picture in pictures])).all()


def test_a_bundle_that_does_not_match_its_manifest_is_refused_by_name_and_the_other_is_served(models: Path) -> None:
    newest = max((models / "monet2photo").glob("*/model.onnx"))
    newest.write_bytes(newest.read_bytes() + b"x")
    catalog, logs = load(models)
    assert catalog.directions == ["photo2monet"]
    refused = next(line for line in logs if line["event"] == "bundle refused")
    assert refused["bundle"] == "monet2photo"
    assert "sha256" in refused["reason"]


def test_what_is_already_served_is_not_loaded_again(models: Path) -> None:
    catalog, _ = load(models)
    before = dict(catalog.generators)
    assert open_new(catalog) == []
    assert catalog.generators == before


def test_a_graph_that_onnx_runtime_does_not_take_is_refused_by_name(models: Path) -> None:
    manifest = json.loads((models / "monet2photo" / "model.json").read_text())
    file = manifest["versions"][-1]["files"][0]
    (models / "monet2photo" / file["path"]).write_bytes(b"not a graph")
    file["sha256"] = hashlib.sha256(b"not a graph").hexdigest()
    (models / "monet2photo" / "model.json").write_text(json.dumps(manifest))
    catalog, logs = load(models)
    assert catalog.directions == ["photo2monet"]
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
