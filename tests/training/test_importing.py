"""Generators as others publish them, built by hand here: imported, they are bundles that translate alike."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from models.bundle import load_bundle, sha256_of
from tests.conftest import PICTURES, ROOT
from tests.training.conftest import command
from tests.training.published import Published, cut, patchgan, resnet, unet
from training import __main__
from training.config import ConfigError
from training.importing import ImportRefused, import_generator, read_generator

State = dict[str, Tensor]


def with_running_stats(state: State) -> State:
    """As old files have them."""
    means = {name.replace("bias", "running_mean"): tensor for name, tensor in state.items() if name.endswith("bias")}
    return state | means | {"model.2.running_var": torch.ones(4), "model.2.num_batches_tracked": torch.tensor(7)}


def with_prefix(state: State) -> State:
    """As DataParallel, and torch.compile within it, name them."""
    return {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}


def of_lightning(state: State) -> object:
    return {"epoch": 3, "state_dict": {f"generator.{name}": tensor for name, tensor in state.items()}}


def assert_translates_alike(models: Path, direction: str, network: nn.Module, sizes: tuple[tuple[int, int], ...]) -> None:
    session = onnxruntime.InferenceSession(load_bundle(models / direction).onnx, providers=["CPUExecutionProvider"])
    for count, (height, width) in enumerate(sizes, 1):
        pictures = np.random.default_rng(count).integers(0, 256, (count, height, width, 3), np.uint8)
        (got,) = session.run(None, {"pictures": pictures})
        with torch.no_grad():
            expected = network.eval()(torch.tensor(pictures).permute(0, 3, 1, 2) / 127.5 - 1).permute(0, 2, 3, 1).numpy() * 127.5 + 127.5
        assert got.shape == expected.shape
        assert expected.std() > 5
        assert np.abs(got - expected).mean() < 0.5


def test_the_papers_generator_is_imported_by_command_with_its_card(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file, models, network = tmp_path / "latest_net_G.pth", tmp_path / "models", resnet((16,) * 9)
    torch.save(network.state_dict(), file)
    arguments = ("--generator", file, "--direction", "horse2zebra", "--models", models, "--pictures", PICTURES, "--size", 64)
    subprocess.run(command("import", *arguments, "--about", "Horses.", "--licence", "CC0"), cwd=ROOT, check=True, capture_output=True)

    assert_translates_alike(models, "horse2zebra", network, ((64, 96), (8, 8), (40, 52)))
    bundle = load_bundle(models / "horse2zebra")
    assert (bundle.manifest.source, bundle.manifest.target, bundle.manifest.inverse) == ("horse", "zebra", "zebra2horse")
    assert bundle.version.architecture.startswith("resnet_9blocks")
    assert bundle.version.trained_size == 64
    training = bundle.version.training
    assert training["imported"] == {"file": file.name, "sha256": sha256_of(file.read_bytes())}
    assert training["about"] == "Horses."
    assert training["records"]["import"]["command"].startswith("python -m training import --generator latest_net_G.pth")
    card = (models / "horse2zebra" / "README.md").read_text()
    assert all(told in card for told in ("`latest_net_G.pth`", "resnet_9blocks", "64 pixels", "Horses.", "Licence: CC0"))
    assert str(tmp_path) not in card + json.dumps(bundle.version.training)


@pytest.mark.parametrize(
    ("network", "kept", "architecture", "sizes"),
    [
        (lambda: resnet((16,) * 6, dropout=True), with_running_stats, "resnet_6blocks", ((64, 96), (36, 8))),
        (lambda: resnet(nearest=True), with_prefix, "resnet_1blocks", ((64, 96), (36, 8))),
        (
            lambda: resnet((12, 20), (6, 10, 16), (9, 5), dropout=True, separable=True),
            lambda state: {"netG": state, "epoch": 200},
            "mobile_resnet_2blocks",
            ((64, 96), (36, 8)),
        ),
        (cut, of_lightning, "resnet_2blocks, channels 4-8-16-8-4, antialiased", ((64, 96), (36, 8))),
        (lambda: cut(blurred_up=False), dict, "resnet_2blocks, channels 4-8-16-8-4, antialiased", ((64, 96), (36, 8))),
        (lambda: unet(7), dict, "unet_128", ((128, 256), (256, 128))),
        (lambda: unet(8), lambda state: {name: tensor.half() for name, tensor in state.items()}, "unet_256", ((256, 512), (256, 256))),
    ],
    ids=[
        "6 blocks, dropout, running statistics",
        "nearest, compiled",
        "separable, uneven",
        "CUT, Lightning",
        "CUT, transposed",
        "unet_128",
        "unet_256, fp16",
    ],
)
def test_published_layouts_translate_as_they_did(
    tmp_path: Path, network: Callable[[], Published], kept: Callable[[State], object], architecture: str, sizes: tuple[tuple[int, int], ...]
) -> None:
    torch.manual_seed(0)
    published = network().eval()
    torch.save(kept(published.state_dict()), tmp_path / "net.pth")
    generator = read_generator((tmp_path / "net.pth").read_bytes())
    assert generator.architecture.startswith(architecture)
    for height, width in sizes:
        pictures = torch.rand(2, 3, height, width) * 2 - 1
        with torch.no_grad():
            got, expected = generator(pictures), published(pictures)
        assert expected.std() > 0.05
        assert (got - expected).abs().mean() < 1e-3


@pytest.mark.parametrize(("network", "size"), [(lambda: unet(7), (128, 256)), (cut, (36, 8))], ids=["unet_128", "CUT"])
def test_layouts_other_than_the_papers_make_bundles_too(tmp_path: Path, network: Callable[[], Published], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    published = network()
    safetensors.torch.save_file(published.state_dict(), tmp_path / "net.safetensors")
    import_generator(tmp_path / "net.safetensors", "a2b", tmp_path / "models")
    assert_translates_alike(tmp_path / "models", "a2b", published, (size,))


@pytest.mark.parametrize(
    ("saved", "told"),
    [
        (patchgan().state_dict(), r"model\.1\.weight \(64, 3, 7, 7\) is missing.*model\.0\.weight \(4, 3, 4, 4\) is unexpected"),
        (cut().state_dict() | {"model.7.filt": torch.ones(8, 1, 4, 4)}, r"model\.7\.filt \(8, 1, 4, 4\) should be \(8, 1, 3, 3\)"),
        (resnet(affine=True).state_dict(), r"model\.2\.weight \(4,\) belongs to a batch norm or an affine"),
        (resnet(colours=1).state_dict(), r"model\.1\.weight \(4, 1, 7, 7\) should be \(4, 3, 7, 7\)"),
        (unet(3).state_dict() | {"model.model.9.weight": torch.ones(1, 1)}, r"model\.model\.9\.weight \(1, 1\) is unexpected"),
        (resnet().state_dict() | {"model.1.bias": torch.full((4,), torch.nan)}, r"model\.1\.bias has values that are not finite"),
        ({"netG_A": resnet().state_dict(), "netG_B": resnet().state_dict()}, "it has netG_A, netG_B"),
        ({"netG": resnet().state_dict(), "G": resnet().state_dict()}, "it has netG, G"),
        (resnet().state_dict() | {"model.1.bias": torch.ones(4).to_sparse()}, r"model\.1\.bias is sparse"),
        ({"weight": torch.ones(3, 3)}, r"weight \(3, 3\) is unexpected"),
        ([1, 2], "it has a list"),
        (resnet(), "save only the state_dict"),
    ],
    ids=["critic", "filters", "affine", "one colour", "UNet", "nan", "two", "ambiguous", "sparse", "one tensor", "list", "module"],
)
def test_another_network_is_refused_and_what_does_not_fit_is_named(tmp_path: Path, saved: object, told: str) -> None:
    file = tmp_path / "net.pth"
    torch.save(saved, file)
    with pytest.raises(ImportRefused, match=rf"net\.pth: .*{told}.*import takes the weights of ResNets and UNets"):
        import_generator(file, "horse2zebra", tmp_path / "models")
    assert not (tmp_path / "models").exists()


class Code:
    def __init__(self, leaves: Path) -> None:
        self.leaves = leaves

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.leaves,))


def test_files_of_other_kinds_are_called_by_their_names(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    torch.jit.trace(resnet(), torch.zeros(1, 3, 32, 32)).save(file)
    script = file.read_bytes()
    for content, told in (
        (script, "it is TorchScript.*torch.jit.load"),
        (b"\x89HDF\r\n", "Keras and TensorFlow"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (load_bundle(ROOT / "models" / "photo2monet").onnx.read_bytes(), "ONNX already"),
    ):
        file.write_bytes(content)
        with pytest.raises(ImportRefused, match=told):
            import_generator(file, "a2b", tmp_path / "models")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    file, left = tmp_path / "net.pth", tmp_path / "left"
    for save, told in (
        (torch.save, r"it has \S+ in addition to tensors, which was not run"),
        (lambda state, path: path.write_bytes(pickle.dumps(state, 2)), "net.pth"),
    ):
        save(resnet().state_dict() | {"model.1.weight": Code(left)}, file)
        with pytest.raises(ImportRefused, match=told):
            import_generator(file, "horse2zebra", tmp_path)
    assert not left.exists()


def test_a_file_that_is_no_file_of_weights_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    torch.save(resnet().state_dict(), tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:5000])
    (tmp_path / "text.pth").write_text("horses and zebras\n")
    (tmp_path / "empty.pth").touch()
    for name, told in (("cut", "cut off"), ("text", "not a weight file"), ("empty", "not a weight file"), ("none", "No such file")):
        file = tmp_path / f"{name}.pth"
        monkeypatch.setattr(sys, "argv", ["training", "import", "--generator", str(file), "--direction", "horse2zebra"])
        with pytest.raises(SystemExit, match=rf"^error: \S+{name}\.pth.*{told}[^\n]*$"):
            __main__.main()


@pytest.mark.parametrize("direction", ["horse", "2zebra", "horse2horse", "horse2zebra2horse", "../a2b"])
def test_a_direction_that_is_none_is_refused(tmp_path: Path, direction: str) -> None:
    with pytest.raises(ConfigError, match="like horse2zebra"):
        import_generator(tmp_path / "net.pth", direction, tmp_path)


def test_weights_too_large_for_halves_are_kept_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = resnet((), (16, 32, 64), (32, 16))
    network.model[1].weight.data *= 1e6  # which the instance norm after the convolution takes out again
    torch.save(network.state_dict(), tmp_path / "net.pth")
    bundle = import_generator(tmp_path / "net.pth", "a2b", tmp_path / "models")
    assert_translates_alike(tmp_path / "models", "a2b", network, ((64, 96),))
    assert bundle.onnx.stat().st_size > 4 * sum(weight.numel() for weight in network.parameters())
