"""The bundle format, and the bundles that the repository holds."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from models import padding
from models.bundle import (
    CARD,
    MANIFEST,
    BundleError,
    Manifest,
    ModelFile,
    Version,
    list_bundles,
    load_bundle,
    next_version,
    read_manifest,
    sha256_of,
    write_version,
)
from tests.conftest import ROOT


def write(folder: Path, onnx_file: bytes) -> None:
    number = next_version(folder)
    file = ModelFile(path=f"{number}/model.onnx", precision="fp32", device="any", sha256=sha256_of(onnx_file))
    version = Version(
        version=number, architecture="a", trained_size=64, multiple=4, smallest_side=8, files=(file,), training={}, evaluation={}
    )
    manifest = Manifest(direction="a2b", source="a", target="b", inverse="b2a", licence="none", versions=(version,))
    write_version(folder, manifest, [onnx_file], {CARD: b"# a2b"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of two versions."""
    folder = tmp_path / "a2b"
    write(folder, b"first")
    write(folder, b"second")
    return folder


def test_the_newest_version_is_loaded(folder: Path) -> None:
    assert list_bundles(folder.parent) == [folder]
    assert load_bundle(folder).onnx.read_bytes() == b"second"


def test_a_version_that_does_not_match_leaves_the_one_before_it(folder: Path) -> None:
    (folder / "2" / "model.onnx").write_bytes(b"tampered")
    assert load_bundle(folder).version.version == 1


def test_where_no_version_matches_each_file_is_named(folder: Path) -> None:
    (folder / "1" / "model.onnx").unlink()
    (folder / "2" / "model.onnx").write_bytes(b"tampered")
    with pytest.raises(BundleError, match=r"2/model\.onnx does not match.*1/model\.onnx is in the manifest but not"):
        load_bundle(folder)


def test_a_manifest_that_cannot_be_understood_is_refused_by_name(folder: Path) -> None:
    (folder / MANIFEST).write_text('{"direction": "a2b"}')
    with pytest.raises(BundleError, match=r"a2b/model\.json: source: Field required"):
        load_bundle(folder)


def test_a_version_that_does_not_run_anywhere_is_refused(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"precision": "fp32"', '"precision": "int8"').replace('"any"', '"cpu-vnni"'))
    with pytest.raises(BundleError, match="fp32 for any device"):
        load_bundle(folder)


def test_a_manifest_cannot_reach_outside_its_bundle(folder: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace("2/model.onnx", "../../secret"))
    with pytest.raises(BundleError, match="path"):
        load_bundle(folder)


def test_a_bundle_in_a_folder_of_another_name_is_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match="rename its folder to that"):
        load_bundle(folder.rename(folder.parent / "b2a"))


@pytest.mark.parametrize("folder", list_bundles(ROOT / "models"), ids=lambda folder: folder.name)
def test_the_repositorys_bundles_are_sound_small_and_honest(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.version == max(read_manifest(folder).versions, key=lambda version: version.version)
    assert bundle.onnx.stat().st_size < 2_000_000
    card = (folder / CARD).read_text()
    assert "non-commercial use" in card
    assert f"{bundle.version.training['steps']:,}" in card


@pytest.mark.parametrize("folder", list_bundles(ROOT / "models"), ids=lambda folder: folder.name)
def test_the_repositorys_graphs_take_and_give_bytes_of_any_size(folder: Path) -> None:
    graph = onnx.load(load_bundle(folder).onnx).graph
    for (value,) in (graph.input, graph.output):
        tensor = value.type.tensor_type
        assert tensor.elem_type == onnx.TensorProto.UINT8
        assert [dim.dim_param or dim.dim_value for dim in tensor.shape.dim] == ["batch", "height", "width", 3]
    assert {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (8, 8), (9, 64), (1, 5000), (255, 257)])
def test_padding_fits_any_size_and_cropping_undoes_it(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    padded = padding.pad(pixels, multiple=4, smallest=8)
    assert padded.shape[0] % 4 == padded.shape[1] % 4 == 0
    assert min(padded.shape[:2]) >= 8
    assert (padding.crop(padded, height, width) == pixels).all()
