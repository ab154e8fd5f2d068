"""Classes that the config leaves to the data are found there."""

from pathlib import Path

import pytest

from detectors.config.instantiate import instantiate
from detectors.engine.build import configured, initial_detector
from tests.data.sources.test_auto import beside, xml

WORDS = ["model=fcos", "size=small", "data=auto"]


def test_number_and_names_are_those_of_the_data(tmp_path: Path) -> None:
    beside(xml)(tmp_path, ["a", "b"])
    cfg = configured([*WORDS, f"data.root={tmp_path}"])
    assert (cfg.data.num_classes, cfg.data.classes) == (2, ["cat", "dog"])
    assert initial_detector(cfg).head.tower.logits.out_channels == 2


def test_folders_of_splits_may_lie_apart(tmp_path: Path) -> None:
    beside(xml)(tmp_path / "one", ["a"])
    beside(xml)(tmp_path / "two", ["b"])
    roots = [f"data.train.root={tmp_path / 'one'}", f"data.val.root={tmp_path / 'two'}"]
    assert configured([*WORDS, *roots]).data.num_classes == 2


def test_what_is_said_is_kept() -> None:
    assert configured(["model=fcos", "data=coco"]).data.classes is None


def test_without_a_folder_it_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"data.root has no value: name the folder"):
        configured(WORDS)


def test_a_root_that_nothing_reads_is_refused() -> None:
    words = ["model=fcos", "data=coco", "+data.root=elsewhere"]
    with pytest.raises(ValueError, match=r"data.root=elsewhere: no split of these data is read"):
        instantiate(configured(words), "data")
