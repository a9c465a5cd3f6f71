"""Folders of pictures to batches."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.conftest import run_command, tiny_config
from training import data, memory
from training.config import ConfigError
from training.data import Domain, list_pictures, load_domains, read_pictures, to_pixels, to_tensor
from training.fields import domain_name


def test_nested_folders_are_found_and_pictures_scaled_to_what_training_needs(domains: tuple[Path, Path]) -> None:
    x, y = load_domains(tiny_config(domains))
    assert (len(x.pictures), len(y.pictures)) == (8, 8)
    assert {min(picture.shape[:2]) for picture in x.pictures} == {48}


def test_the_layout_of_train_a_and_train_b_names_its_domains_by_the_folder_above(domains: tuple[Path, Path], tmp_path: Path) -> None:
    root = tmp_path / "day2dusk"
    for domain, letter in zip(domains, "AB", strict=True):
        shutil.copytree(domain / "train", root / f"train{letter}")
        shutil.copytree(domain / "test", root / f"test{letter}")
    config = tiny_config((root / "trainA", root / "trainB"))
    assert (config.direction, config.inverse) == ("day2dusk", "dusk2day")
    assert torch.equal(load_domains(config)[1].batch(3), load_domains(tiny_config(domains))[1].batch(3))
    assert names(data.test_pictures(config.target)) == names(list_pictures(domains[1] / "test"))


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def save_red(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), "red").save(path)


def test_without_test_pictures_those_of_training_are_judged_and_that_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_red(tmp_path / "a.png")
    assert data.train_pictures(tmp_path) == data.test_pictures(tmp_path) == [tmp_path / "a.png"]
    assert f"{tmp_path} has no test/" in caplog.text


def test_pictures_that_are_gone_are_not_called_without_tests(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="zebra does not exist"):
        data.test_pictures(tmp_path / "zebra")
    assert "no test/" not in caplog.text


@pytest.mark.parametrize("target", ["horse", "."], ids=["the same folder", "the folder above"])
def test_a_domain_that_is_a_part_of_the_other_is_refused(tmp_path: Path, target: str) -> None:
    save_red(tmp_path / "horse" / "train" / "a.png", tmp_path / "zebra" / "train" / "b.png")
    with pytest.raises(ConfigError, match="source and target have the same pictures"):
        load_domains(tiny_config((tmp_path / "horse", tmp_path / target), target_name="zebra"))


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("Train", "VAL"), (".", "test"), ("training", "validation"), ("../trainA", "../testA")]
)
def test_folders_of_training_and_of_test_pictures_are_found_by_their_usual_names(tmp_path: Path, train: str, test: str) -> None:
    domain = tmp_path / ("trainA" if ".." in train else "zebra")
    save_red(domain / train / "one.png", domain / test / "two.png")
    assert names(data.train_pictures(domain)) == ["one.png"]
    assert names(data.test_pictures(domain)) == ["two.png"]


def test_what_is_set_aside_beside_training_pictures_is_not_trained_on(tmp_path: Path) -> None:
    save_red(tmp_path / "zebra" / "one.png", tmp_path / "zebra" / "test" / "two.png", tmp_path / "zebra" / "Val" / "three.png")
    assert names(data.train_pictures(tmp_path / "zebra")) == ["one.png"]
    assert names(data.test_pictures(tmp_path / "zebra")) == ["two.png"]


@pytest.mark.parametrize("run", ["zebra/run", "zebra"])
def test_a_run_does_not_leave_its_sheets_among_the_pictures(tmp_path: Path, run: str) -> None:
    save_red(tmp_path / "zebra" / "one.png")
    with pytest.raises(ConfigError, match="is in the folder of pictures"):
        run_command("train", "--run", tmp_path / run, "--source", tmp_path / "horse", "--target", tmp_path / "zebra")


def test_links_are_followed_and_hidden_files_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_red(
        tmp_path / "store" / "a.png", tmp_path / "zebra" / "b.png", tmp_path / "zebra" / "._b.png", tmp_path / "zebra" / ".cache" / "c.png"
    )
    (tmp_path / "zebra" / "more").symlink_to(tmp_path / "store")
    (tmp_path / "zebra" / "again").symlink_to(tmp_path / "zebra")
    (tmp_path / "zebra" / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "stripes").symlink_to(tmp_path / "zebra")
    (tmp_path / "store" / "round").symlink_to(tmp_path / "zebra")
    (tmp_path / "zebra" / "twice").symlink_to(tmp_path / "store")
    (tmp_path / "zebra" / "self.png").symlink_to(tmp_path / "zebra" / "self.png")
    assert names(list_pictures(tmp_path / "stripes")) == ["b.png", "a.png"]
    assert "gone.png: a broken link" in caplog.text
    assert domain_name(tmp_path / "stripes") == "stripes"


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("winter photos", "winter_photos"),
        ("été", "ete"),
        ("day2night v1.5/trainB", "night_v1_5"),
        ("horse2zebra/trainA", "horse"),
        ("a/trainB", "B"),
    ],
)
def test_a_domains_name_is_made_of_what_a_directions_may_have(folder: str, name: str) -> None:
    assert domain_name(Path(folder)) == name


def test_a_folder_whose_name_gives_none_has_to_be_given_one(domains: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--set source_name=photo"):
        tiny_config((tmp_path / "猫", domains[1]))
    assert tiny_config((tmp_path / "猫", domains[1]), source_name="cat").direction == "cat2dusk"


@pytest.mark.parametrize("cache", ["bytes", "files"])
def test_pictures_that_are_decoded_anew_give_the_same_batches(
    domains: tuple[Path, Path], cache: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept, undecoded = (load_domains(tiny_config(domains, batch_size=3, cache=where))[0] for where in ("memory", cache))
    assert all(torch.equal(kept.batch(step), undecoded.batch(step)) for step in range(6))
    assert "are decoded again for each step" in caplog.text


def test_where_memory_is_short_pictures_are_not_kept_decoded(domains: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    paths = data.train_pictures(domains[0])
    pixels, encoded = len(paths) * 72 * 64 * 3, sum(path.stat().st_size for path in paths)
    for free, where in ((2.1 * pixels, "memory"), (2.01 * encoded, "bytes"), (encoded, "files")):
        monkeypatch.setattr(memory, "available_memory", lambda free=free: free)
        assert memory.choose_cache("auto", paths, 100, torch.device("cpu")) == (where, pixels)
    with pytest.raises(ConfigError, match="GB are free: leave cache=auto"):
        memory.choose_cache("memory", paths, 100, torch.device("cpu"))


def test_pictures_on_the_device_are_cut_nearly_alike(domains: tuple[Path, Path]) -> None:
    """Scaled whole and then cut, not the box alone."""
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in list_pictures(domains[0] / "train")]
    config = tiny_config(domains, load_size=32, batch_size=4)
    here = Domain(pictures, config, 0)
    there = Domain(pictures, config, 0, device=torch.device("cpu"))
    assert (here.batch(0) - there.batch(0)).abs().mean() < 0.02


def test_each_process_has_its_share_of_the_pictures(domains: tuple[Path, Path]) -> None:
    shares = [load_domains(tiny_config(domains), rank, 3)[0] for rank in range(3)]
    assert sorted(len(share.pictures) for share in shares) == [2, 3, 3]
    assert {share.listed for share in shares} == {8}
    assert len({share.fingerprint for share in shares}) == 1


def save_16_bit(path: Path) -> None:
    Image.fromarray((np.full((40, 40), 0.5) * 65535).astype(np.uint16)).save(path)


def save_cmyk(path: Path) -> None:
    Image.new("CMYK", (40, 40), (0, 0, 0, 127)).save(path)


def save_palette(path: Path) -> None:
    Image.new("RGB", (40, 40), (128, 128, 128)).quantize(4).save(path)


def save_half_transparent(path: Path) -> None:
    Image.new("RGBA", (40, 40), (0, 0, 0, 127)).save(path)  # on white: grey


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.png", save_16_bit),
        ("a.jpg", save_cmyk),
        ("a.gif", save_palette),
        ("a.PNG", save_half_transparent),
        ("a.tiff", save_cmyk),
        ("a.webp", save_half_transparent),
        ("a.avif", save_half_transparent),
    ],
)
def test_any_format_becomes_8_bit_rgb(tmp_path: Path, name: str, save: Callable[[Path], None]) -> None:
    save(tmp_path / name)
    (pixels,) = read_pictures(list_pictures(tmp_path))
    assert pixels.shape == (40, 40, 3)
    assert np.abs(pixels.astype(int) - 128).max() <= 2


def test_a_picture_that_memory_does_not_hold_is_not_called_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_red(tmp_path / "a.png")
    monkeypatch.setattr("pictures.decode.to_8_bits", lambda *_: (_ for _ in ()).throw(MemoryError()))
    assert data.read_picture(tmp_path / "a.png") is None
    assert "a.png: it does not fit in memory: shrink it" in caplog.text


def test_a_broken_or_tiny_file_is_named_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "good.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    Image.new("RGB", (200, 3)).save(tmp_path / "tiny.png")
    assert len(read_pictures(list_pictures(tmp_path))) == 1
    assert "broken.jpg" in caplog.text
    assert "tiny.png: 200 × 3 pixels" in caplog.text


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir(), lambda folder: folder.write_text("x")])
def test_a_folder_without_pictures_is_refused_by_name(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "photos")
    with pytest.raises(ConfigError, match="photos"):
        list_pictures(tmp_path / "photos")


def test_the_same_step_gives_the_same_batch_and_another_seed_another(domains: tuple[Path, Path]) -> None:
    config = tiny_config(domains, batch_size=2)
    first, _ = load_domains(config)
    again = Domain(first.pictures, config, stream=0)
    assert torch.equal(first.batch(5), again.batch(5))
    assert not torch.equal(first.batch(5), first.batch(6))
    assert not torch.equal(first.batch(5), Domain(first.pictures, tiny_config(domains, batch_size=2, seed=1), stream=0).batch(5))


def test_an_epoch_shows_each_picture_once(domains: tuple[Path, Path]) -> None:
    config = tiny_config(domains, batch_size=2, flip=False, load_size=32)
    plain = [np.full((32, 32, 3), 10 * i, np.uint8) for i in range(8)]
    domain = Domain(plain, config, stream=0)
    for epoch in range(3):
        seen = [int(pixels[0, 0, 0]) for step in range(4) for pixels in to_pixels(domain.batch(epoch * 4 + step))]
        assert sorted(seen) == [10 * i for i in range(8)]


def test_crops_have_the_asked_size_and_range_whatever_the_pictures(domains: tuple[Path, Path]) -> None:
    pictures = [np.random.default_rng(0).integers(0, 256, shape, np.uint8) for shape in ((20, 300, 3), (33, 32, 3))]
    batch = Domain(pictures, tiny_config(domains, batch_size=4), stream=0).batch(0)
    assert batch.shape == (4, 3, 32, 32)
    assert batch.min() >= -1
    assert batch.max() <= 1


def test_a_crop_of_a_picture_that_needs_no_scaling_is_a_cut_of_it(domains: tuple[Path, Path]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    (crop,) = to_pixels(Domain([picture], tiny_config(domains, load_size=40), stream=0).batch(0))
    cuts = np.lib.stride_tricks.sliding_window_view(picture, (32, 32), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    assert any((cut == crop).all() or (cut[:, ::-1] == crop).all() for cut in cuts.reshape(-1, 32, 32, 3))


def test_bytes_survive_the_way_through_floats() -> None:
    pixels = np.arange(256 * 3, dtype=np.int64).astype(np.uint8).reshape(1, 16, 16, 3)
    assert (to_pixels(to_tensor(pixels)) == pixels).all()
