"""Pictures with several objects are refused, or only the largest of each counts."""

import logging
import re

import numpy as np
import pytest

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.data.augment.transforms import Stretch
from detectors.data.module import DetectionData
from detectors.data.sources.annotations import Findings, Objects, packed
from detectors.data.sources.one_object import LargestObject, check_one_object
from detectors.structures import Annotations

BOXES = [[0, 0, 4, 4], [1, 1, 8, 8], [0, 0, 4, 4], [2, 2, 6, 6], [0, 0, 8, 8], [1, 1, 2, 2]]


class Pictures:
    """Five: of two objects, of two as large, of a crowd over another, two of none."""

    def __init__(self, rows: int = 6, of: tuple[int, ...] = (0, 0, 1, 1, 2, 2)) -> None:
        objects = Objects(
            image=np.array(of),
            boxes=np.array(BOXES[:rows], np.float64),
            labels=np.zeros(rows, np.int64),
            crowd=np.arange(rows) == 4,
            difficult=np.zeros(rows, bool),
            areas=np.full(rows, np.nan),
        )
        sizes, notes = np.full((5, 2), 8), Findings("test")
        self.annotations: Annotations = packed(
            np.arange(5), sizes, objects, ("cell",), (1,), str, notes
        )

    def __len__(self) -> int:
        return 5

    def image(self, index: int) -> np.ndarray:
        return np.full((8, 8, 3), index, np.uint8)

    def path(self, index: int) -> str:
        return f"{index}.png"


def test_only_the_largest_counts(caplog: pytest.LogCaptureFixture) -> None:
    """Of two as large the first; a crowd is none, so the small one beside it stays."""
    with caplog.at_level(logging.INFO):
        found = LargestObject(Pictures(), "train")
    assert found.annotations.difficult.tolist() == [True, False, False, True, False, False]
    assert "ignores 2 of 6 objects, in 2 of 5 pictures" in caplog.text
    assert found.path(3) == "3.png"
    assert found.image(2)[0, 0, 0] == 2
    check_one_object(found, "train")


def test_several_are_refused_with_file_and_remedy() -> None:
    expected = "train: 2 of 5 pictures have more than one object: 0.png (2 objects), 1.png"
    with pytest.raises(ValueError, match=re.escape(expected)) as refusal:
        check_one_object(Pictures(), "train")
    assert "data.objects=largest" in str(refusal.value)


def test_one_or_none_is_taken() -> None:
    check_one_object(Pictures(3, (0, 1, 4)), "train")


def test_data_choose_the_objects() -> None:
    def data(objects: str) -> DetectionData:
        return DetectionData(Pictures, Pictures, 1, Stretch(8), objects=objects)

    assert not data("all").annotations("val").difficult.any()
    assert data("largest").annotations("val").difficult.sum() == 2
    with pytest.raises(ValueError, match="more than one object"):
        data("one").source("val")
    with pytest.raises(ValueError, match=r"data.objects=some, expected all, one or largest"):
        data("some")


def test_scenes_of_one_object_have_exactly_one() -> None:
    words = ["model=localizer", "data=scenes_single", "data.train.read.count=200"]
    data = instantiate(compose(words), "data")
    for split in ("train", "val"):
        assert (np.diff(data.annotations(split).offsets) == 1).all()
