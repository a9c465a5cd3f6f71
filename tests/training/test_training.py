"""Runs: trained, stopped, resumed, judged, exported; through the commands where a user would use them."""

import io
import json
import shutil
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
from training import trainer as trainer_module
from training.checkpoints import load_generators
from training.config import ConfigError, load_config, parse_settings
from training.data import Pixels, load_domains
from training.evaluation import Means
from training.export import export_run
from training.files import locked
from training.generators import ResnetGenerator, Widths
from training.importing import read_generator
from training.logs import read_losses
from training.sampling import sample_folder
from training.trainer import NonFiniteLoss, Trainer
from training.weights import write_weights


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
        {"compile": True, "lambda_identity": 0.0, "n_critic": 2},
        {"precision": "fp16", "accumulate": 2, "critic_lr": 4e-4, "r1_gamma": 1.0, "cache": "device"},
    ],
)
def test_every_option_trains(domains: tuple[Path, Path], tmp_path: Path, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # the other needs a C++ compiler on a CPU
    Trainer(tiny_config(domains, **fields), tmp_path).train()
    assert read_losses(tmp_path)[-1]["step"] == 6
    _, generators, _ = load_generators(tmp_path)
    assert generators["G"](torch.zeros(1, 3, 32, 32)).isfinite().all()


def test_batches_that_are_accumulated_train_as_one_of_their_size(domains: tuple[Path, Path], tmp_path: Path) -> None:
    fields = {"pool_size": 0, "precision": "fp32", "steps": 1}
    whole, parts = (
        Trainer(tiny_config(domains, **fields, **size), tmp_path / name)
        for name, size in (("whole", {"batch_size": 4}), ("parts", {"batch_size": 2, "accumulate": 2}))
    )
    pictures = [domain.batch(0) for domain in load_domains(whole.config)]
    losses = [trainer.train_step(*pictures) for trainer in (whole, parts)]
    assert losses[0].keys() == losses[1].keys()
    assert all(float(losses[1][name]) == pytest.approx(float(value), rel=1e-3) for name, value in losses[0].items() if name[0] != "p")
    moments = [trainer.generator_optimizer.state_dict()["state"] for trainer in (whole, parts)]
    for one, other in zip(moments[0].values(), moments[1].values(), strict=True):
        assert torch.allclose(one["exp_avg"], other["exp_avg"], rtol=1e-2, atol=1e-5)


def test_a_run_is_judged_on_the_way_and_its_best_weights_are_kept(
    domains: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.3, 0.8, 0.5])

    def judged(run: Path, means: Means) -> dict:
        figures = {"score": next(values), "pictures": means.count}
        step = load_generators(run)[2]
        return {"steps": step, "directions": {"day2dusk": figures, "dusk2day": figures}}

    monkeypatch.setattr(trainer_module, "evaluate_run", judged)
    Trainer(tiny_config(domains, steps=6, evaluate_every=2), tmp_path).train()
    assert (load_generators(tmp_path)[2], load_generators(tmp_path, best=True)[2]) == (6, 4)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("day2dusk/score")] == pytest.approx([0.3, 0.8, 0.5])


def test_critics_have_a_rate_and_steps_of_their_own(domains: tuple[Path, Path], tmp_path: Path) -> None:
    trainer = Trainer(tiny_config(domains, steps=100, n_critic=2, critic_lr=8e-4), tmp_path)
    pictures = [domain.batch(0) for domain in load_domains(trainer.config)]
    trainer.train_step(*pictures)
    assert [optimizer.param_groups[0]["lr"] for optimizer in (trainer.generator_optimizer, trainer.critic_optimizer)] == [2e-4, 8e-4]
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    trainer.step = 1
    assert "G" not in trainer.train_step(*pictures)
    assert {name[0] for name, weight in trainer.model.named_parameters() if not torch.equal(weight, before[name])} == {"D"}


@pytest.mark.parametrize(("device", "told"), [("cuda", "cuda cannot be used here"), ("gpu", "gpu cannot be used here")])
def test_a_device_that_is_not_there_is_told(domains: tuple[Path, Path], tmp_path: Path, device: str, told: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match=f"device: {told}.*leave device=auto"):
        Trainer(tiny_config(domains, device=device), tmp_path)


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
    trainer.step = 1000  # of the first steps it takes in more
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
        (["stepps=5"], "stepps: there is no such field; did you mean steps"),
        (["lr={"], r"--set lr=\{: '\{' is no value"),
        (["device=cuda: 0"], "device: Input should be a valid string"),
        (["=5"], "--set steps=20000"),
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
        assert {"kid", "kid_floor", "kid_base", "content", "colour", "cycle_psnr", "parity"} <= bundle.version.evaluation.keys()
        card = (models / direction / "README.md").read_text()
        assert all(told in card for told in ("![samples](samples.jpg)", "Crops.", "Licence: CC0"))
        assert str(ROOT.parent) not in (models / direction / "model.json").read_text()
        assert f'name: "{direction}"' in (models / direction / "config.pbtxt").read_text()
    assert len(list((tmp_path / "out").iterdir())) == 5
    assert Image.open(tmp_path / "out" / "china.png").size == (96, 64)


def test_exported_again_without_its_pictures_it_is_one_more_version(
    domains: tuple[Path, Path], finished_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And with flat ones first, on which torch and ONNX Runtime differ."""
    flat = shutil.copytree(domains[0], tmp_path / "flat")
    (flat / "test" / "000.png").write_bytes(png(np.full((48, 64, 3), 255, np.uint8)))
    half = np.asarray(Image.open(PICTURES / "china.jpg").resize((64, 48))).copy()
    half[:24] = 0
    (flat / "test" / "001.png").write_bytes(png(half))
    for number, folders in ((1, (flat, domains[1])), (2, (tmp_path / "gone", tmp_path / "gone"))):
        bundles = export.export_run(finished_run, tmp_path / "models", source=folders[0], target=folders[1])
        assert [bundle.version.version for bundle in bundles] == [number, number]
        assert bundles[0].version.training["pictures"] == {"day": 8, "dusk": 8}
    assert "gone is not there" in caplog.text
    assert "--source" in caplog.text
    manifest = json.loads((tmp_path / "models" / "day2dusk" / "model.json").read_text())
    assert [version["version"] for version in manifest["versions"]] == [1, 2]
    made = manifest["versions"][1]["training"]
    assert made["records"]["export"]["libraries"]["torch"] == torch.__version__
    assert made["records"]["train"]["project"]
    assert made["data_sha256"].keys() == {"day", "dusk"}


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
    monkeypatch.setattr(export, "to_onnx", None)
    with pytest.raises(ConfigError, match="file is no folder"):
        export.export_run(finished_run, tmp_path / "file")
    with pytest.raises(ConfigError, match="file is no folder"), locked(tmp_path / "file" / "run"):
        pass
    with pytest.raises(ConfigError, match="file is no folder"):
        next(sample_folder(ROOT / "models" / "photo2monet", PICTURES, tmp_path / "file", 64))


def test_sample_takes_one_picture_and_never_writes_over_what_it_reads(tmp_path: Path) -> None:
    bundle = ROOT / "models" / "photo2monet"
    picture = shutil.copy(PICTURES / "china.jpg", tmp_path / "china.jpg")
    assert list(sample_folder(bundle, picture, tmp_path, 64)) == [tmp_path / "china.png"]
    with pytest.raises(ConfigError, match=r"china\.png would be written over"):
        next(sample_folder(bundle, tmp_path, tmp_path, 64))
    assert [path.name for path in sample_folder(bundle, tmp_path, tmp_path / "out", 64)] == ["china.png", "china.png.png"]


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
