"""The architectures are those that the field knows, to the parameter."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.conftest import vgg_weights
from training.config import ConfigError, load_config
from training.cyclegan import CycleGAN
from training.discriminators import PatchGAN, make_discriminator
from training.generators import ResnetGenerator, Widths, make_generator
from training.perception import Features, load_features


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_paper_is_the_papers_generator_with_the_names_that_others_publish() -> None:
    generator = make_generator(load_config("paper", source="x", target="y"))
    assert parameters(generator) == 11_378_179
    shapes = {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}
    assert len(shapes) == 48
    assert shapes["model.1.weight"] == (64, 3, 7, 7)
    assert shapes["model.18.conv_block.5.weight"] == (256, 256, 3, 3)
    assert shapes["model.19.weight"] == (256, 128, 3, 3)
    assert shapes["model.26.weight"] == (3, 64, 7, 7)


def test_six_blocks_have_the_published_size() -> None:
    assert parameters(ResnetGenerator(Widths.of(64, 6))) == 7_837_699


def test_lite_is_half_a_million_parameters_without_transposed_convolutions() -> None:
    generator = make_generator(load_config("lite", source="x", target="y"))
    assert 450_000 < parameters(generator) < 550_000
    assert not any(isinstance(module, nn.ConvTranspose2d) for module in generator.modules())


def test_the_trunk_can_be_wider_than_the_rest() -> None:
    generator = make_generator(load_config("lite", source="x", target="y", generator="mobile_resnet", trunk=96))
    assert (
        generator.architecture
        == "mobile_resnet_6blocks, channels 16-32-96-32-16, bilinear upsampling, blurred downsampling, skip 0.2, color skip 0.5"
    )
    assert {tuple(w.shape) for w in generator.model[10].state_dict().values() if w.ndim == 4} == {(96, 1, 3, 3), (96, 96, 1, 1)}
    with torch.no_grad():
        assert generator(torch.zeros(1, 3, 32, 64)).shape == (1, 3, 32, 64)
    with pytest.raises(ConfigError, match="trunk is for ResNets"):
        load_config("paper", source="x", target="y", generator="unet_128", trunk=96)


@pytest.mark.parametrize(
    ("generator", "count"),
    [
        ("resnet_9blocks", 11_378_179),
        ("resnet_6blocks", 7_837_699),
        ("mobile_resnet_9blocks", 1_987_075),
        ("unet_128", 41_825_667),
        ("unet_256", 54_409_603),
    ],
)
def test_each_architecture_has_its_published_size(generator: str, count: int) -> None:
    with torch.device("meta"):
        assert parameters(make_generator(load_config("paper", source="x", target="y", generator=generator))) == count


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"generator": "resnet_2blocks"}, (8, 8)),
        ({"generator": "resnet_2blocks"}, (100, 36)),
        ({"generator": "resnet_1blocks", "upsampling": "nearest"}, (64, 96)),
        ({"generator": "mobile_resnet_2blocks"}, (64, 96)),
        ({"generator": "unet_128", "crop_size": 128}, (128, 256)),
        ({"generator": "unet_256"}, (256, 256)),
    ],
)
def test_a_translation_has_the_size_and_range_of_its_input(fields: dict[str, Any], size: tuple[int, int]) -> None:
    generator = make_generator(load_config("paper", source="x", target="y", ngf=4, **fields))
    with torch.no_grad():
        translation = generator(torch.rand(2, 3, *size) * 2 - 1)
    assert translation.shape == (2, 3, *size)
    assert translation.abs().max() <= 1


@torch.no_grad()
def test_without_aliasing_flat_stays_flat_to_the_border_and_a_moved_picture_gives_the_same_moved() -> None:
    torch.manual_seed(0)
    smooth, papers = (make_generator(load_config(preset, source="x", target="y", ngf=8, n_blocks=2)) for preset in ("lite", "paper"))
    flat = torch.full((1, 3, 64, 64), 0.3)
    assert float(smooth(flat).std()) < 1e-4
    assert float(papers(flat).std()) > 0.01
    picture = torch.rand(1, 3, 97, 96) * 2 - 1

    def move_error(generator: nn.Module) -> float:
        above, below = (generator(picture[:, :, start : start + 96]).squeeze() for start in (0, 1))
        difference = (above[:, 1:] - below[:, :-1])[:, 24:-24, 24:-24]
        return float(difference.std() / above.std())

    assert move_error(smooth) < 0.5 * move_error(papers)


def test_a_picture_is_translated_alike_alone_and_in_a_batch() -> None:
    generator = ResnetGenerator(Widths.of(4, 2), "nearest")
    pictures = torch.rand(3, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(generator(pictures)[1:2], generator(pictures[1:2]), atol=1e-5)


def test_in_bf16_the_pixels_are_still_computed_in_fp32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert ResnetGenerator(Widths.of(4, 1))(torch.rand(1, 3, 32, 32)).dtype == torch.float32


def test_the_critic_is_the_published_patchgan() -> None:
    critic = PatchGAN(64)
    assert parameters(critic) == 2_764_737
    assert critic(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)


def test_critics_are_heads_on_the_features_of_a_frozen_network(tmp_path: Path) -> None:
    torch.save(vgg_weights(), tmp_path / "vgg19.pth")
    config = load_config("lite", source="x", target="y", features=str(tmp_path / "vgg19.pth"))
    model = CycleGAN(config)
    with torch.no_grad():
        answers = model.D_Y(model.view(torch.rand(2, 3, 128, 96) * 2 - 1).critic_input)
    assert answers.shape == (2, 4, 32, 24)
    assert parameters(model.D_Y) < 1_000_000
    assert not any("weight_" in name or "features" in name for name in model.state_dict())
    assert {buffer.device.type for buffer in model.to("meta").features.buffers()} == {"meta"}  # they go where the networks go


def test_features_of_both_layouts_of_files_are_the_same() -> None:
    weights = vgg_weights()
    names = zip((0, 2, 5, 7, 10), (2, 5, 9, 12, 16), strict=True)
    other = {f"{to}.{kind}": weights[f"features.{of}.{kind}"] for of, to in names for kind in ("weight", "bias")}
    deviation, mean = torch.tensor([0.229, 0.224, 0.225]), torch.tensor([0.485, 0.456, 0.406])
    other |= {"0.weight": (1 / deviation).diag()[:, :, None, None], "0.bias": -mean / deviation}
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    for level, again in zip(Features(weights)(picture), Features(other)(picture), strict=True):
        assert torch.allclose(level, again, atol=1e-4)


@pytest.mark.parametrize(
    ("features", "reason"), [("nowhere.pth", "cannot be read"), ("junk.pth", "has no VGG-19"), ("vgg19", "torchvision")]
)
def test_without_a_file_of_features_one_is_told_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, features: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setattr("training.config.find_spec", lambda name: None)
    monkeypatch.setattr("training.perception.find_spec", lambda name: None)
    torch.save({"a": torch.zeros(1)}, "junk.pth")
    with pytest.raises(ConfigError, match=reason):
        load_features(features)
    fallback = load_config("lite", source="x", target="y")
    assert fallback.features == "none"
    assert isinstance(make_discriminator(fallback), PatchGAN)


def test_one_answer_of_the_critic_sees_70_by_70_pixels() -> None:
    critic = make_discriminator(load_config("paper", source="x", target="y"))
    convolutions = nn.Sequential(*(m for m in critic.model if isinstance(m, nn.Conv2d)))  # instance norm sees everything
    picture = torch.zeros(1, 3, 256, 256, requires_grad=True)
    convolutions(picture)[0, 0, 15, 15].backward()
    assert picture.grad is not None
    seen = picture.grad.abs().sum(dim=(0, 1)) > 0
    assert (seen.any(dim=0).sum(), seen.any(dim=1).sum()) == (70, 70)


def test_a_critic_of_pixels_judges_each_pixel() -> None:
    critic = make_discriminator(load_config("paper", source="x", target="y", discriminator="pixel"))
    assert critic(torch.zeros(1, 3, 64, 48)).shape == (1, 1, 64, 48)


def test_critics_without_a_norm_see_how_strong_a_texture_is() -> None:
    texture = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    blind = make_discriminator(load_config("paper", source="x", target="y"))
    with torch.no_grad():
        assert torch.allclose(blind(texture), blind(texture / 2), atol=0.05)
    for discriminator in ("patchgan", "pixel"):
        seeing = make_discriminator(load_config("paper", source="x", target="y", discriminator=discriminator, critic_norm="none"))
        with torch.no_grad():
            assert torch.allclose(seeing(texture), 2 * seeing(texture / 2), rtol=0.01, atol=1e-6)


def test_critics_of_several_scales_count_alike_and_the_coarser_ones_see_no_fine_texture() -> None:
    critic = make_discriminator(load_config("paper", source="x", target="y", n_layers=2, n_scales=2, critic_norm="none"))
    checkerboard = torch.ones(1, 3, 128, 128)
    checkerboard[:, :, ::2, ::2] = checkerboard[:, :, 1::2, 1::2] = -1
    with torch.no_grad():
        answers = critic(checkerboard)
    assert answers.shape == (1, 2, 30, 30)
    assert answers[:, 0].abs().max() > 0
    assert answers[:, 1].abs().max() == 0
    with pytest.raises(ConfigError, match="too small for n_layers 3 and n_scales 4"):
        load_config("paper", source="x", target="y", crop_size=64, n_scales=4)


def test_skip_adds_a_share_of_the_input() -> None:
    generator = make_generator(load_config("lite", source="x", target="y", skip=0.3, color_skip=None))
    x = torch.randn(1, 3, 32, 32).clamp(-1, 1)
    with torch.no_grad():
        assert torch.allclose(generator(x), 0.7 * generator.model(x) + 0.3 * x, atol=1e-6)
    assert generator.architecture.endswith("skip 0.3")


def test_skip_of_colours_leaves_brightness_to_the_generator() -> None:
    generator = make_generator(load_config("lite", source="x", target="y", skip=0.2, color_skip=0.6))
    x = torch.randn(1, 3, 32, 32).clamp(-1, 1)
    with torch.no_grad():
        y, made = generator(x), generator.model(x)
    assert torch.allclose(y.mean(1), 0.8 * made.mean(1) + 0.2 * x.mean(1), atol=1e-6)
    assert torch.allclose(y[:, 0] - y[:, 1], 0.4 * (made[:, 0] - made[:, 1]) + 0.6 * (x[:, 0] - x[:, 1]), atol=1e-6)
    assert generator.architecture.endswith("skip 0.2, color skip 0.6")


def test_skip_is_for_resnets() -> None:
    with pytest.raises(ConfigError, match="skip is for ResNets"):
        load_config("lite", source="x", target="y", generator="unet_128", skip=0.3)


def test_spectral_norm_bounds_every_convolution_of_a_critic() -> None:
    critic = make_discriminator(load_config("paper", source="x", target="y", spectral_norm=True))
    for _ in range(30):
        critic(torch.rand(1, 3, 64, 64))  # each forward pass in training improves the estimate
    convolutions = [module for module in critic.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 5
    for convolution in convolutions:
        assert float(torch.linalg.matrix_norm(convolution.weight.flatten(1), ord=2).detach()) == pytest.approx(1, abs=0.1)
