"""`detectors doctor` tells what it found in words, on a page and by its exit code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.test_examination import folder as planted
from tests.data.test_examination import replace

folder = planted
WORDS = ("doctor", "data=auto", "image_size=96", "hydra.run.dir=out")


def code(detectors: Callable[..., None], here: Path, *words: str) -> object:
    with pytest.raises(SystemExit) as stopped:
        detectors(here, *WORDS, *words)
    return stopped.value.code


def test_a_root_that_is_nowhere_is_told_once(
    tmp_path: Path, detectors: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(detectors, tmp_path, "data.root=nowhere") == 2
    told = capsys.readouterr().out
    assert "unusable: train and val cannot be read (1): data.root: nowhere does not exist" in told
    assert told.count("nowhere does not exist") == 1


def test_exit_codes_and_files(
    folder: Path, detectors: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"data.root={folder}"
    assert code(detectors, folder, root) == 0
    assert "train: 3 pictures, 6 objects of 2 of 2 classes" in capsys.readouterr().out
    shutil.copy(folder / "train" / "p1.jpg", folder / "val" / "p3.jpg")
    assert code(detectors, folder, root) == 1
    told = capsys.readouterr().out
    assert "warning: the same picture in train and in val (1): " in told
    found = json.loads((folder / "out" / "examination.json").read_text())
    assert found["level"] == "warning"
    pair = {"split": "train", "image": 1, "beside": {"split": "val", "image": 0}, "objects": []}
    assert found["findings"][0]["pictures"] == [pair]
    assert "the same picture in train" in (folder / "out" / "examination.html").read_text()
    replace(folder / "train" / "p0.xml", "</annotation>", "")
    assert code(detectors, folder, root) == 2
    assert "unusable: refused by a training (1): " in capsys.readouterr().out


def test_a_test_split_that_no_word_reads_is_told(
    folder: Path, detectors: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "test").mkdir()
    for suffix in ("jpg", "xml"):
        (folder / "val" / f"p4.{suffix}").rename(folder / "test" / f"p4.{suffix}")
    assert code(detectors, folder, f"data.root={folder}") == 0
    told = f"note: a test split that is not read (1): {folder}: data=auto_test"
    assert told in capsys.readouterr().out


def test_data_without_boxes_are_refused(
    tmp_path: Path, detectors: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        detectors(tmp_path, "doctor", "data=imagefolder")
    assert "a class for each picture, no boxes" in capsys.readouterr().err
