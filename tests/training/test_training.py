"""Runs: what they leave, which options they have, and what they begin with."""

import json
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.conftest import TINY, tiny_config, vgg_weights, weights
from training import evaluation
from training.__main__ import main
from training.checkpoints import BEST, load_checkpoint, load_generators
from training.config import ConfigError, load_config, parse_settings
from training.data import load_domains
from training.evaluation import Evaluator
from training.importing import import_generator
from training.judging.features import EfficientNetLite0
from training.logs import read_losses
from training.progress import describe_critics
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
        next(trainer.learner.model.G.parameters()).fill_(float("nan"))
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
    Trainer(tiny_config(domains, steps=2, sample_every=2, **fields), tmp_path).train()
    assert read_losses(tmp_path)[-1]["step"] == 2
    _, generators, _ = load_generators(tmp_path)
    assert generators["G"](torch.zeros(1, 3, 32, 32)).isfinite().all()


def test_batches_that_are_accumulated_train_as_one_of_their_size(domains: tuple[Path, Path], tmp_path: Path) -> None:
    fields = {"pool_size": 0, "precision": "fp32", "steps": 1}
    whole, parts = (
        Trainer(tiny_config(domains, **fields, **size), tmp_path / name).learner
        for name, size in (("whole", {"batch_size": 4}), ("parts", {"batch_size": 2, "accumulate": 2}))
    )
    pictures = [domain.batch(0) for domain in load_domains(whole.config)]
    losses = [learner.train_step(*pictures, step=0, measure=True) for learner in (whole, parts)]
    assert losses[0].keys() == losses[1].keys()
    assert all(float(losses[1][name]) == pytest.approx(float(value), rel=1e-3) for name, value in losses[0].items() if name[0] != "p")
    moments = [learner.generator_optimizer.state_dict()["state"] for learner in (whole, parts)]
    for one, other in zip(moments[0].values(), moments[1].values(), strict=True):
        assert torch.allclose(one["exp_avg"], other["exp_avg"], rtol=1e-2, atol=1e-5)


def test_a_run_is_judged_on_the_way_and_its_best_weights_are_kept(
    domains: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.3, 0.8, 0.5])

    def evaluate(evaluator: Evaluator, translators: dict, output: Path, metadata: dict) -> dict:
        figures = {"score": next(values), "pictures": evaluator.options.count}
        return metadata | {"directions": dict.fromkeys(translators, figures)}

    monkeypatch.setattr(Evaluator, "evaluate", evaluate)
    Trainer(tiny_config(domains, steps=6, evaluate_every=2), tmp_path).train()
    assert (load_generators(tmp_path)[2], load_generators(tmp_path, best=True)[2]) == (6, 4)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("day2dusk/score")] == pytest.approx([0.3, 0.8, 0.5])


def test_critics_have_a_rate_and_steps_of_their_own(domains: tuple[Path, Path], tmp_path: Path) -> None:
    learner = Trainer(tiny_config(domains, steps=100, n_critic=2, critic_lr=8e-4), tmp_path).learner
    pictures = [domain.batch(0) for domain in load_domains(learner.config)]
    learner.train_step(*pictures, step=0)
    assert [optimizer.param_groups[0]["lr"] for optimizer in (learner.generator_optimizer, learner.critic_optimizer)] == [2e-4, 8e-4]
    before = {name: weight.clone() for name, weight in learner.model.named_parameters()}
    assert "G" not in learner.train_step(*pictures, step=1)
    assert {name[0] for name, weight in learner.model.named_parameters() if not torch.equal(weight, before[name])} == {"D"}


@pytest.mark.parametrize(("device", "told"), [("cuda", "cuda cannot be used here"), ("gpu", "gpu cannot be used here")])
def test_a_device_that_is_not_there_is_told(domains: tuple[Path, Path], tmp_path: Path, device: str, told: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match=f"device: {told}.*leave device=auto"):
        Trainer(tiny_config(domains, device=device), tmp_path)


def test_a_run_can_start_from_anothers_weights(domains: tuple[Path, Path], finished_run: Path, tmp_path: Path) -> None:
    trainer = Trainer(tiny_config(domains[::-1], start=finished_run), tmp_path)
    _, generators, _ = load_generators(finished_run)
    assert all(torch.equal(tensor, trainer.learner.model.G.state_dict()[name]) for name, tensor in generators["G"].state_dict().items())
    with pytest.raises(ConfigError, match="n_blocks 1 → 2"):
        Trainer(tiny_config(domains, start=finished_run, n_blocks=2), tmp_path)


@pytest.mark.parametrize("generator", ["resnet", "mobile_resnet"])
def test_a_run_can_start_from_a_bundles_weights(
    domains: tuple[Path, Path], finished_run: Path, exported: Path, tmp_path: Path, generator: str
) -> None:
    """Of a pair; or of one direction that was imported, whose other way begins anew."""
    run, models, names = finished_run, exported, "GF"
    if generator == "mobile_resnet":
        run, models, names = tmp_path / "first", tmp_path / "models", "G"
        Trainer(tiny_config(domains, generator=generator, steps=2), run).train()
        import_generator(next(write_weights(run, tmp_path)), "day2dusk", models)
    begun = Trainer(tiny_config(domains, start=models / "day2dusk", generator=generator), tmp_path / "second").learner.model
    _, trained, _ = load_generators(run)
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    for name in names:
        assert (trained[name](picture) - getattr(begun, name)(picture)).abs().max() < 0.01  # the bundle's weights are fp16
    with pytest.raises(ConfigError, match=r"other generators \(.*_1blocks.*\) than this run \(.*_2blocks"):
        Trainer(tiny_config(domains, start=models / "day2dusk", generator=generator, n_blocks=2), tmp_path)
    with pytest.raises(ConfigError, match=r"is not a run \(with checkpoint\.pt\) or a bundle .*: name the folder of one"):
        Trainer(tiny_config(domains, start=tmp_path), tmp_path)


def test_new_critics_learn_first_beside_generators_that_are_trained_already(
    domains: tuple[Path, Path], finished_run: Path, tmp_path: Path
) -> None:
    fields = {"start": finished_run, "critic_norm": "none", "spectral_norm": True, "skip": 0.25, "critic_warmup": 2}
    begun = Trainer(tiny_config(domains, steps=2, **fields), tmp_path)
    untrained = {name: tensor.clone() for name, tensor in begun.learner.model.state_dict().items()}
    begun.train()
    assert {name[0] for name, tensor in begun.learner.model.state_dict().items() if not torch.equal(tensor, untrained[name])} == {"D"}
    begun = Trainer(tiny_config(domains, steps=3, **fields), tmp_path)
    begun.train()
    assert any(not torch.equal(tensor, untrained[name]) for name, tensor in begun.learner.model.state_dict().items() if name[0] == "G")


def test_the_rate_is_constant_and_then_falls_to_nothing(domains: tuple[Path, Path]) -> None:
    config = tiny_config(domains, steps=100, lr=1.0)
    assert [config.lr_at(step) for step in (0, 49, 50, 75, 99)] == pytest.approx([1, 1, 1, 0.5, 0.02])
    assert tiny_config(domains, steps=100, lr=1.0, decay_steps=10).lr_at(89) == 1


def test_the_average_follows_the_generators(domains: tuple[Path, Path], tmp_path: Path) -> None:
    learner = Trainer(tiny_config(domains, ema=0.9), tmp_path).learner
    learner._step = 1000  # of the first steps it takes in more
    (name, average), weight = next(iter(learner.averaged.named_parameters())), next(learner.generators.parameters())
    before = average.detach().clone()
    learner.ema.update_parameters(learner.generators)  # the first is a copy
    with torch.no_grad():
        weight.add_(1.0)
    learner.ema.update_parameters(learner.generators)
    assert torch.allclose(dict(learner.averaged.named_parameters())[name], before + 0.1, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["stepps=5"], "stepps: there is no such field; did you mean steps"),
        (["lr={"], r"--set lr=\{: '\{' is not a valid value"),
        (["device=cuda: 0"], "device: Input should be a valid string"),
        (["=5"], "--set steps=20000"),
        (["steps"], "--set steps=20000"),
        (["steps=many"], "steps"),
        (["crop_size=300"], "load_size"),
        (["load_size=160-256"], r"load_size\.0: Input should be a valid integer"),
        (["lambda_cycle=1,2,3"], "lambda_cycle: Tuple should have at most 2 items"),
        (["seed=2020-13-45"], "--set seed=2020-13-45: '2020-13-45' is not a valid value"),
        (["seed=99999999999999999999"], "seed: Input should be less than"),
        (["lr=.inf"], "lr: Input should be a finite number"),
        (["preset=lite"], "preset: there is no such field"),
        (["discriminator=pixel", "n_scales=9", "lambda_content=0"], "too small for n_layers 0 and n_scales 9"),
        (["features=none", "n_layers=7"], "too small for n_layers 7"),
        (["generator=unet_128", "skip=0", "color_skip=0"], "lambda_shift is for ResNets"),
        (["generator=vgg"], "generator"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(settings: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config("lite", source="x", target="y", **parse_settings(settings))


def test_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="lite, medium, paper, standard"):
        load_config("huge", source="x", target="y")


@pytest.mark.parametrize("text", ["", "- lr", "lr: 2020-13-45", "1: 2", "lr: [", "\x00"])
def test_a_file_that_is_no_preset_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yml").write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yml is not a YAML file of configuration fields|1: Keys should be strings"):
        load_config(str(tmp_path / "mine.yml"), source="x", target="y")


def test_a_field_that_there_is_not_is_told_with_the_file_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("lambda_edge: 3\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: lambda_edge: there is no such field"):
        load_config(str(tmp_path), source="x", target="y")


def test_a_field_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["training", "train", "--run", "x", "--source", "a", "--set", "source=b"])
    with pytest.raises(SystemExit, match="error: source: given twice, as an option and by --set"):
        main()


def test_a_run_says_which_critics_it_has_and_how_to_get_better_ones(
    domains: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.config.find_spec", lambda name: None)
    config = load_config("lite", source=domains[0], target=domains[1], **TINY | {"steps": 1})
    Trainer(config, tmp_path).train()
    (told,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("critics"))
    assert re.search("PatchGANs with spectral norm and lambda_content is ignored.*pip install torchvision.*features=FILE", told)
    monkeypatch.setattr("training.config.find_spec", lambda name: name)
    assert "features=vgg19" in str(describe_critics(load_config("lite", source="x", target="y")))
    assert describe_critics(load_config("paper", source="x", target="y")) is None


def test_while_training_real_pictures_are_looked_at_once_and_the_critics_network_judges_too(
    domains: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Counted(EfficientNetLite0):
        def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
            seen.append(pictures)
            return super().forward(pictures)

    monkeypatch.setattr(evaluation, "EfficientNetLite0", Counted)
    torch.save(vgg_weights(), tmp_path / "vgg19.pth")
    fields = {"features": str(tmp_path / "vgg19.pth"), "lambda_content": 0.5, "steps": 3, "evaluate_every": 1, "evaluate_count": 2}
    Trainer(tiny_config(domains, **fields), tmp_path / "run").train()
    assert len(seen) == 2 * 3 * 2 + 3 * 2 * 2, "source, target and its training pictures; then translations alone"
    figures = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert figures["steps"] == 3
    assert {"kid", "style", "content", "content_vgg"} <= figures["directions"]["day2dusk"].keys()
    assert (load_checkpoint(tmp_path / "run", BEST) or {})["evaluation"]["directions"].keys() == {"day2dusk", "dusk2day"}
    assert (tmp_path / "run" / "dusk2day.jpg").exists()


def test_too_few_pictures_to_judge_by_are_told_before_the_first_step(domains: tuple[Path, Path], tmp_path: Path) -> None:
    source = shutil.copytree(domains[0], tmp_path / "day")
    shutil.rmtree(source / "test")
    (source / "test").mkdir()
    shutil.copy(next((source / "train").glob("*.png")), source / "test")
    with pytest.raises(ConfigError, match="needs at least two in each folder"):
        Trainer(tiny_config((source, domains[1]), evaluate_every=6), tmp_path / "run").train()
    assert not (tmp_path / "run" / "losses.csv").exists()
