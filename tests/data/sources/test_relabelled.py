"""Classes are matched by name with those of a model, or refused with the difference."""

import logging

import numpy as np
import pytest

from detectors.data.sources.annotations import Findings, Objects, packed
from detectors.data.sources.relabelled import Relabelled
from detectors.structures import Annotations


class Pictures:
    """Two pictures of three objects."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        objects = Objects(
            image=np.array([0, 0, 1]),
            boxes=np.array([[0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 6, 6]], np.float64),
            labels=np.array([0, 2, 1]),
            crowd=np.zeros(3, bool),
            difficult=np.zeros(3, bool),
            areas=np.full(3, np.nan),
        )
        sizes = np.full((2, 2), 8)
        ids, names = (10, 20, 30), Findings("test")
        self.annotations: Annotations = packed(
            np.arange(2), sizes, objects, classes, ids, str, names
        )

    def __len__(self) -> int:
        return 2

    def image(self, index: int) -> np.ndarray:
        return np.full((8, 8, 3), index, np.uint8)


def test_labels_and_ids_follow_the_names(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        mapped = Relabelled(Pictures(("cat", "dog", "emu")), ("emu", "cat", "dog"), "val")
    assert mapped.annotations.classes == ("emu", "cat", "dog")
    assert mapped.annotations.category_ids == (30, 10, 20)
    assert mapped.annotations.labels.tolist() == [1, 0, 2]
    assert (len(mapped), mapped.image(1)[0, 0, 0]) == (2, 1)
    assert "mapped to the model's by name" in caplog.text


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (("cat", "dog", "yak"), r"does not know yak, and emu of the model is not there"),
        (("Cat", "dog", "emu"), r"does not know Cat, and cat of the model"),
    ],
)
def test_other_names_are_refused_with_the_difference(found: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValueError, match=f"val has other classes.*{told}"):
        Relabelled(Pictures(found), ("emu", "cat", "dog"), "val")
