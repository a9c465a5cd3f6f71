"""A folder of pictures as they were gathered becomes a domain."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.conftest import PICTURES
from training import data
from training.__main__ import main
from training.config import ConfigError
from training.preparing import inside_of_border, prepare


@pytest.fixture
def gathered(tmp_path: Path) -> Path:
    """Twelve different crops; and of one a smaller copy, a scan with a border, a small one, and a file that is none."""
    folder = tmp_path / "gathered"
    folder.mkdir()
    for name in ("china", "flower", "coffee", "chelsea"):
        with Image.open(PICTURES / f"{name}.jpg") as picture:
            for i in range(3):
                picture.crop((90 * i, 20, 90 * i + 160, 180)).save(folder / f"{name}{i}.png")
    with Image.open(folder / "china0.png") as picture:
        picture.resize((120, 120)).save(folder / "again.jpg", quality=60)
        picture.crop((0, 0, 50, 50)).save(folder / "small.png")
        rotated = picture.rotate(180)
        ImageOps.expand(rotated, border=20, fill=(250, 248, 246)).save(folder / "scan.jpg", quality=95)
    (folder / "notes.jpg").write_text("no picture")
    return folder


def test_duplicates_small_pictures_and_borders_go_and_each_file_is_told_of(gathered: Path, tmp_path: Path) -> None:
    made = prepare(gathered, tmp_path / "photo", min_side=100, test=0.25)
    assert made.left_out == {"cannot be read": 1, "smaller than 100 pixels": 1, "alike": 1}
    assert made.kept["train"] + made.kept["test"] == 13
    assert made.cropped == 1
    told = {entry["file"]: entry for entry in json.loads(made.report.read_text())}
    assert told["again.jpg"]["left out"] == "like china0.png"
    assert told["china0.png"]["kept"] in ("train", "test")
    (scan,) = (tmp_path / "photo").rglob("scan.jpg.png")
    assert all(abs(side - 160) <= 4 for side in Image.open(scan).size)
    (kept,) = (tmp_path / "photo").rglob("china0.png")
    assert kept.read_bytes() == (gathered / "china0.png").read_bytes()
    assert Image.open(made.contact_sheet).width == 12 * 96
    assert len(data.train_pictures(tmp_path / "photo")) + len(data.test_pictures(tmp_path / "photo")) == 13


def test_a_picture_stays_on_its_side_of_the_split_when_others_are_added(gathered: Path, tmp_path: Path) -> None:
    prepare(gathered, tmp_path / "before", min_side=100, test=0.3)
    with Image.open(PICTURES / "flower.jpg") as picture:
        picture.crop((300, 50, 460, 210)).save(gathered / "new.png")
    prepare(gathered, tmp_path / "after", min_side=100, test=0.3)
    before, after = ({path.name for path in data.list_pictures(tmp_path / name / "test")} for name in ("before", "after"))
    assert before == after - {"new.png"}


def test_a_white_sky_is_no_border() -> None:
    picture = np.full((60, 80, 3), 120, np.uint8)
    assert inside_of_border(picture) is None
    picture[:20] = 255
    assert inside_of_border(picture) is None
    picture[50:] = 255
    assert inside_of_border(picture) == (0, 20, 80, 50)
    assert inside_of_border(np.full((60, 80, 3), 255, np.uint8)) is None


def test_nothing_is_mixed_into_a_domain_that_is_there(gathered: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lower --min-side, which is 5000"):
        prepare(gathered, tmp_path / "photo", min_side=5000)
    assert not (tmp_path / "photo").exists()
    shutil.copytree(gathered, tmp_path / "photo" / "train")
    with pytest.raises(ConfigError, match="has pictures already"):
        prepare(gathered, tmp_path / "photo")
    with pytest.raises(ConfigError, match="name an --output elsewhere"):
        prepare(gathered, gathered / "photo")


@pytest.mark.parametrize("step", ["copy", "report"])
def test_a_full_disk_is_told_with_the_file_that_could_not_be_written(
    gathered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def copy(source: Path, target: Path) -> None:  # as shutil tells it
        full.filename, full.filename2 = str(source), str(target)
        raise full

    def sync(descriptor: int) -> None:
        raise full

    monkeypatch.setattr(*(shutil, "copyfile", copy) if step == "copy" else (os, "fsync", sync))
    output = tmp_path / "made"
    monkeypatch.setattr("sys.argv", ["training", "prepare", "--input", str(gathered), "--output", str(output), "--min-side", "32"])
    with pytest.raises(SystemExit, match=rf"^error: {output}/\S+: No space left on device$"):
        main()
