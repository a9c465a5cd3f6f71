"""Runs become bundles, and files of weights; through the commands where a user would use them."""

import io
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from models.bundle import load_bundle
from tests.conftest import PICTURES, ROOT
from tests.training.conftest import earlier_version, run_command, tiny_config
from training import export, graph
from training.checkpoints import load_generators
from training.config import ConfigError
from training.data import Pixels
from training.files import locked
from training.generators import ResnetGenerator, Widths
from training.importing import read_generator
from training.sampling import sample_folder
from training.tiling import ExportError
from training.trainer import Trainer
from training.weights import write_weights


def test_evaluate_export_and_sample_make_bundles_that_translate(exported: Path, tmp_path: Path) -> None:
    run_command("sample", "--model", exported / "day2dusk", "--input", PICTURES, "--output", tmp_path / "out", "--size", 64)
    assert len(list((tmp_path / "out").iterdir())) == 5
    assert Image.open(tmp_path / "out" / "china.png").size == (96, 64)
    for direction, inverse in (("day2dusk", "dusk2day"), ("dusk2day", "day2dusk")):
        bundle = load_bundle(exported / direction)
        assert bundle.manifest.inverse == inverse
        assert {(file.precision, file.device) for file in bundle.version.files} >= {("fp32", "any"), ("fp16", "cuda")}
        assert bundle.version.training["steps"] == 6
        assert bundle.version.training["pictures"] == {"day": 8, "dusk": 8}
        assert {"kid", "kid_floor", "kid_base", "content", "colour", "cycle_psnr", "parity"} <= bundle.version.evaluation.keys()
        card = (exported / direction / "README.md").read_text()
        assert all(told in card for told in ("![samples](samples.jpg)", "Crops.", "Licence: CC0"))
        assert str(ROOT.parent) not in (exported / direction / "model.json").read_text()
        assert f'name: "{direction}"' in (exported / direction / "config.pbtxt").read_text()


def test_exported_again_where_its_pictures_are_flat_or_gone_it_is_one_more_version(
    domains: tuple[Path, Path], finished_run: Path, exported: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On flat ones torch and ONNX Runtime differ. And of a checkpoint of an earlier version of the program, which says less."""
    flat = shutil.copytree(domains[0], tmp_path / "flat")
    (flat / "test" / "000.png").write_bytes(png(np.full((48, 64, 3), 255, np.uint8)))
    half = np.asarray(Image.open(PICTURES / "china.jpg").resize((64, 48))).copy()
    half[:24] = 0
    (flat / "test" / "001.png").write_bytes(png(half))
    shutil.rmtree(flat / "train")
    run, models = earlier_version(finished_run, tmp_path / "run"), shutil.copytree(exported, tmp_path / "models")
    bundles = export.export_run(run, models, source=flat, target=tmp_path / "gone")
    assert [bundle.version.version for bundle in bundles] == [2, 2]
    assert "gone does not exist" in caplog.text
    assert "--target" in caplog.text
    manifest = json.loads((models / "day2dusk" / "model.json").read_text())
    assert [version["version"] for version in manifest["versions"]] == [1, 2]
    made, earlier = (version["training"] for version in manifest["versions"])
    assert made["records"]["export"]["libraries"]["torch"] == torch.__version__
    assert made["records"]["train"]["project"]
    assert made["data_sha256"].keys() == {"day", "dusk"}
    assert (earlier["pictures"], earlier["records"]["train"]) == ({}, None)


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_weights_are_written_in_the_layout_that_others_read(
    domains: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As .pth where others have such layers; as safetensors always, which say what the generator is."""
    for name, fields in (
        ("usual", {"downsampling": "strided", "upsampling": "transposed", "skip": 0}),
        ("own", {"downsampling": "blurred"}),
    ):
        Trainer(tiny_config(domains, **fields), tmp_path / name).save()
    names = [f"latest_net_G_{letter}{suffix}" for letter in "AB" for suffix in (".safetensors", ".pth")]
    assert [path.name for path in write_weights(tmp_path / "usual", tmp_path)] == names
    assert [path.name for path in write_weights(tmp_path / "own", tmp_path / "own")] == names[::2]
    assert "no .pth files: other programs have no downsampling=blurred" in caplog.text
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    for run, files in (("usual", (tmp_path / names[0], tmp_path / names[1])), ("own", (tmp_path / "own" / names[0],))):
        _, generators, _ = load_generators(tmp_path / run)
        for path in files:
            assert torch.equal(read_generator(path.read_bytes())(picture), generators["G"](picture))
    assert {"model.1.weight", "model.4.weight", "model.10.conv_block.1.bias"} <= torch.load(tmp_path / names[1], weights_only=True).keys()


def test_what_cannot_be_written_is_found_out_before_the_work(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(graph, "to_onnx", None)
    with pytest.raises(ConfigError, match="file is not a folder"):
        export.export_run(finished_run, tmp_path / "file")
    with pytest.raises(ConfigError, match="file is not a folder"), locked(tmp_path / "file" / "run"):
        pass
    with pytest.raises(ConfigError, match="file is not a folder"):
        next(sample_folder(ROOT / "models" / "photo2monet", PICTURES, tmp_path / "file", 64))


def test_sample_takes_one_picture_and_never_writes_over_what_it_reads(tmp_path: Path) -> None:
    bundle = ROOT / "models" / "photo2monet"
    picture = shutil.copy(PICTURES / "china.jpg", tmp_path / "china.jpg")
    assert list(sample_folder(bundle, picture, tmp_path, 64)) == [tmp_path / "china.png"]
    with pytest.raises(ConfigError, match=r"china\.png would be overwritten"):
        next(sample_folder(bundle, tmp_path, tmp_path, 64))
    assert [path.name for path in sample_folder(bundle, tmp_path, tmp_path / "out", 64)] == ["china.png", "china.png.png"]


def test_the_graph_takes_any_batch_and_size_and_agrees_with_torch(finished_run: Path, exported: Path) -> None:
    _, generators, _ = load_generators(finished_run)
    model = load_bundle(exported / "day2dusk").onnx.read_bytes()
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 52, 3), np.uint8)
    (translations,) = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"pictures": pictures})
    assert translations.shape == pictures.shape
    assert translations.dtype == np.uint8
    assert graph.check_parity(model, generators["G"], list(pictures))["max_difference"] <= 2


def test_a_nine_block_generator_exports_to_the_operators_that_providers_run_well() -> None:
    model = onnx.load_from_string(graph.to_onnx(ResnetGenerator(Widths.of(ngf=4, n_blocks=9))))
    operators = Counter(node.op_type for node in model.graph.node)
    expected = {"InstanceNormalization": 23, "Conv": 22, "ConvTranspose": 2, "Pad": 20, "Transpose": 2, "BatchNormalization": 0}
    assert {name: operators[name] for name in expected} == expected


def test_a_graph_that_differs_from_torch_is_refused_and_nothing_is_written(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, generators, _ = load_generators(finished_run)
    to_onnx = graph.to_onnx
    monkeypatch.setattr(graph, "to_onnx", lambda generator: to_onnx(generators["F" if generator is not generators["F"] else "G"]))
    with pytest.raises(ExportError, match="no bundle is written"):
        export.export_run(finished_run, tmp_path)
    assert list(tmp_path.iterdir()) == []
