"""Runs: trained, stopped, resumed, judged, exported; through the commands where a user would use them."""

import json
import subprocess
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models.bundle import load_bundle
from tests.conftest import PICTURES, ROOT
from tests.training.conftest import TINY, command, tiny_config, weights
from training import export
from training.checkpoints import load_generators
from training.config import ConfigError, load_config, parse_settings
from training.data import Pixels
from training.export import export_run
from training.generators import ResnetGenerator, Widths
from training.logs import read_losses
from training.metrics import psnr, sliced_wasserstein
from training.trainer import NonFiniteLoss, Trainer


def test_a_run_leaves_configuration_losses_samples_and_a_checkpoint(finished_run: Path) -> None:
    assert yaml.safe_load((finished_run / "config.yaml").read_text())["ngf"] == TINY["ngf"]
    assert [line["step"] for line in read_losses(finished_run)] == [2, 4, 6]
    assert {"G", "F", "cycle_X", "cycle_Y", "identity_X", "identity_Y", "D_X", "D_Y"} < read_losses(finished_run)[0].keys()
    assert [path.name for path in sorted((finished_run / "samples").iterdir())] == ["0000003.jpg", "0000006.jpg"]
    assert Image.open(finished_run / "samples" / "0000006.jpg").size == (6 * 48, 4 * 48)
    assert Image.open(finished_run / "losses.png").size == (1200, 800)


def test_tensorboard_has_the_losses_and_the_samples(finished_run: Path) -> None:
    events = EventAccumulator(str(finished_run / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss/cycle_X")] == [2, 4, 6]
    assert events.Scalars("loss/G")[2].value == pytest.approx(read_losses(finished_run)[2]["G"], rel=1e-4)
    assert [image.step for image in events.Images("samples")] == [3, 6]


def test_training_lowers_the_cycle_loss(domains: tuple[Path, Path], tmp_path: Path) -> None:
    Trainer(tiny_config(domains, steps=120, ngf=8, log_every=20, sample_every=120, lr=1e-3, seed=2), tmp_path).train()
    first, *_, last = ({**line, "cycle": line["cycle_X"] + line["cycle_Y"]} for line in read_losses(tmp_path))
    assert last["cycle"] < 0.75 * first["cycle"]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_checkpoint(domains: tuple[Path, Path], tmp_path: Path) -> None:
    trainer = Trainer(tiny_config(domains), tmp_path)
    saved = trainer.save()
    with torch.no_grad():
        next(trainer.model.G.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match=str(saved)):
        trainer.train()
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())


@pytest.mark.parametrize(
    "fields",
    [
        {"generator": "mobile_resnet_1blocks", "discriminator": "pixel"},
        {"n_layers": 2, "n_scales": 2, "critic_norm": "none", "spectral_norm": True, "skip": 0.3, "r1_gamma": 1.0},
        {"objective": "minimax", "spectral_norm": True, "augment": "color,translation,cutout"},
        {"objective": "wgan-gp", "channels_last": True},
        {"objective": "hinge", "r1_gamma": 1.0, "r1_every": 2, "lambda_cycle": 0.0},
        {"lambda_color": "2,1", "lambda_shift": 5, "lambda_lattice": 30, "downsampling": "blurred", "upsampling": "bilinear"},
        {"compile": True, "lambda_identity": 0.0},
    ],
)
def test_every_option_trains(domains: tuple[Path, Path], tmp_path: Path, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # the other needs a C++ compiler on a CPU
    Trainer(tiny_config(domains, **fields), tmp_path).train()
    assert read_losses(tmp_path)[-1]["step"] == 6
    _, generators, _ = load_generators(tmp_path)
    assert generators["G"](torch.zeros(1, 3, 32, 32)).isfinite().all()


def test_a_run_can_start_from_anothers_weights(domains: tuple[Path, Path], finished_run: Path, tmp_path: Path) -> None:
    trainer = Trainer(tiny_config(domains[::-1], start=finished_run), tmp_path)
    _, generators, _ = load_generators(finished_run)
    assert all(torch.equal(tensor, trainer.model.G.state_dict()[name]) for name, tensor in generators["G"].state_dict().items())
    with pytest.raises(ConfigError, match="n_blocks 1 → 2"):
        Trainer(tiny_config(domains, start=finished_run, n_blocks=2), tmp_path)


@pytest.mark.parametrize("generator", ["resnet", "mobile_resnet"])
def test_a_run_can_start_from_a_bundles_weights(domains: tuple[Path, Path], tmp_path: Path, generator: str) -> None:
    fields = {"generator": generator, "steps": 2, "precision": "fp32"}
    Trainer(tiny_config(domains, **fields), tmp_path / "first").train()
    export_run(tmp_path / "first", tmp_path / "models")
    begun = Trainer(tiny_config(domains, start=tmp_path / "models" / "day2dusk", **fields), tmp_path / "second").model
    _, trained, _ = load_generators(tmp_path / "first")
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    for name in ("G", "F"):
        assert (trained[name](picture) - getattr(begun, name)(picture)).abs().max() < 0.01  # the bundle's weights are fp16
    with pytest.raises(ConfigError, match=r"other generators \(.*_1blocks.*\) than this run \(.*_2blocks"):
        Trainer(tiny_config(domains, start=tmp_path / "models" / "day2dusk", generator=generator, n_blocks=2), tmp_path)
    with pytest.raises(ConfigError, match="is nothing to start from: name a run's folder"):
        Trainer(tiny_config(domains, start=tmp_path), tmp_path)


def test_new_critics_learn_first_beside_generators_that_are_trained_already(
    domains: tuple[Path, Path], finished_run: Path, tmp_path: Path
) -> None:
    fields = {"start": finished_run, "critic_norm": "none", "spectral_norm": True, "skip": 0.25, "critic_warmup": 2}
    begun = Trainer(tiny_config(domains, steps=2, **fields), tmp_path)
    untrained = {name: tensor.clone() for name, tensor in begun.model.state_dict().items()}
    begun.train()
    assert {name[0] for name, tensor in begun.model.state_dict().items() if not torch.equal(tensor, untrained[name])} == {"D"}
    begun = Trainer(tiny_config(domains, steps=3, **fields), tmp_path)
    begun.train()
    assert any(not torch.equal(tensor, untrained[name]) for name, tensor in begun.model.state_dict().items() if name[0] == "G")


def test_the_rate_is_constant_and_then_falls_to_nothing(domains: tuple[Path, Path]) -> None:
    config = tiny_config(domains, steps=100, lr=1.0)
    assert [config.lr_at(step) for step in (0, 49, 50, 75, 99)] == pytest.approx([1, 1, 1, 0.5, 0.02])
    assert tiny_config(domains, steps=100, lr=1.0, decay_steps=10).lr_at(89) == 1


def test_the_average_follows_the_generators(domains: tuple[Path, Path], tmp_path: Path) -> None:
    trainer = Trainer(tiny_config(domains, ema=0.9), tmp_path)
    (name, average), weight = next(iter(trainer.averaged.named_parameters())), next(trainer.generators.parameters())
    before = average.detach().clone()
    trainer.ema.update_parameters(trainer.generators)  # the first is a copy
    with torch.no_grad():
        weight.add_(1.0)
    trainer.ema.update_parameters(trainer.generators)
    assert torch.allclose(dict(trainer.averaged.named_parameters())[name], before + 0.1, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["stepps=5"], "stepps"),
        (["steps"], "--set steps=20000"),
        (["steps=many"], "steps"),
        (["crop_size=300"], "load_size"),
        (["generator=vgg"], "generator"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(settings: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config("lite", source="x", target="y", **parse_settings(settings))


def test_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="lite, medium, paper, standard"):
        load_config("huge", source="x", target="y")


def test_evaluate_export_and_sample_make_bundles_that_translate(finished_run: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    for arguments in (
        ("evaluate", "--run", finished_run),
        ("export", "--run", finished_run, "--models", models, "--pictures", PICTURES, "--about", "Crops.", "--licence", "CC0"),
        ("sample", "--model", models / "day2dusk", "--input", PICTURES, "--output", tmp_path / "out", "--size", 64),
    ):
        subprocess.run(command(*arguments), cwd=ROOT, check=True, capture_output=True)
    for direction, inverse in (("day2dusk", "dusk2day"), ("dusk2day", "day2dusk")):
        bundle = load_bundle(models / direction)
        assert bundle.manifest.inverse == inverse
        assert {(file.precision, file.device) for file in bundle.version.files} >= {("fp32", "any"), ("fp16", "cuda")}
        assert bundle.version.training["steps"] == 6
        assert {"swd", "swd_floor", "swd_base", "cycle_psnr", "cycle_ssim", "parity"} == bundle.version.evaluation.keys()
        card = (models / direction / "README.md").read_text()
        assert all(told in card for told in ("![samples](samples.jpg)", "Crops.", "Licence: CC0"))
        assert str(ROOT.parent) not in (models / direction / "model.json").read_text()
        assert f'name: "{direction}"' in (models / direction / "config.pbtxt").read_text()
    assert len(list((tmp_path / "out").iterdir())) == 5
    assert Image.open(tmp_path / "out" / "china.png").size == (96, 64)


def test_exported_again_it_is_one_more_version(finished_run: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        assert [bundle.version.version for bundle in export.export_run(finished_run, tmp_path)] == [number, number]
    assert json.loads((tmp_path / "day2dusk" / "model.json").read_text())["versions"][0]["version"] == 1


def test_the_graph_takes_any_batch_and_size_and_agrees_with_torch(finished_run: Path) -> None:
    _, generators, _ = load_generators(finished_run)
    model = export.to_onnx(generators["G"])
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 52, 3), np.uint8)
    (translations,) = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"pictures": pictures})
    assert translations.shape == pictures.shape
    assert translations.dtype == np.uint8
    assert export.check_parity(model, generators["G"], list(pictures))["max_difference"] <= 2


def test_a_nine_block_generator_exports_to_the_operators_that_providers_run_well() -> None:
    graph = onnx.load_from_string(export.to_onnx(ResnetGenerator(Widths.of(ngf=4, n_blocks=9)))).graph
    operators = Counter(node.op_type for node in graph.node)
    expected = {"InstanceNormalization": 23, "Conv": 22, "ConvTranspose": 2, "Pad": 20, "Transpose": 2, "BatchNormalization": 0}
    assert {name: operators[name] for name in expected} == expected


def test_a_graph_that_differs_from_torch_is_refused_and_nothing_is_written(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, generators, _ = load_generators(finished_run)
    to_onnx = export.to_onnx
    monkeypatch.setattr(export, "to_onnx", lambda generator: to_onnx(generators["F" if generator is not generators["F"] else "G"]))
    with pytest.raises(export.ExportError, match="no bundle is written"):
        export.export_run(finished_run, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sliced_wasserstein_grows_with_the_difference() -> None:
    def noisy(scale: float) -> list[Pixels]:
        random = np.random.default_rng(0)
        picture = np.asarray(Image.open(PICTURES / "china.jpg").resize((256, 256)), np.float32)
        return [(picture + scale * random.normal(size=picture.shape)).clip(0, 255).astype(np.uint8) for _ in range(3)]

    clean = noisy(0)
    distances = [sliced_wasserstein(clean, noisy(scale)) for scale in (0, 10, 60)]
    assert distances[0] < distances[1] < distances[2]
    assert sliced_wasserstein(clean, noisy(10)) == distances[1]


def test_psnr_is_the_textbooks() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black, black + 1) == pytest.approx(48.13, abs=0.01)
