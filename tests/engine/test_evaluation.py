"""An evaluation tells where a detector cannot find all objects of a picture."""

import logging

import numpy as np
import pytest

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.engine.build import configured, sketch
from detectors.engine.evaluation import warn_of_crowds
from detectors.structures import Annotations


def pictures(
    *counts: int, crowd: tuple[int, ...] = (), difficult: tuple[int, ...] = ()
) -> Annotations:
    """Pictures with so many objects, of which these rows are crowds and those difficult."""
    total = sum(counts)
    return Annotations(
        image_ids=np.arange(len(counts)),
        sizes=np.full((len(counts), 2), 64),
        offsets=np.cumsum([0, *counts]),
        boxes=np.tile([0.0, 0, 8, 8], (total, 1)),
        labels=np.zeros(total, np.int64),
        crowd=np.isin(np.arange(total), crowd),
        difficult=np.isin(np.arange(total), difficult),
        areas=np.full(total, 64.0),
        classes=("a",),
        category_ids=(1,),
    )


def test_crowded_pictures_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_crowds(2, pictures(0, 3, 2, 5))
    assert "2 of 4 pictures hold more objects, up to 5, than the 2 " in caplog.text


@pytest.mark.parametrize(
    ("most", "truth"),
    [
        (None, pictures(9)),
        (2, pictures(2, 2)),
        (2, pictures(4, crowd=(1,), difficult=(0, 3))),
        (2, pictures()),
    ],
)
def test_pictures_of_which_all_can_be_found_are_no_crowd(
    most: int | None, truth: Annotations, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_crowds(most, truth)
    assert not caplog.text


@pytest.mark.parametrize(
    ("model", "words", "most"),
    [
        ("cornernet_squeeze", [], 20),
        ("cornernet_squeeze", ["part.head.head.grouping.most=40"], 40),
        ("cornernet_squeeze", ["part.head.head.grouping.most=400"], 100),
        ("centernet_triplets", [], 70),
        ("fcos", [], 100),
        ("fcos", ["part.postprocess.detections=7"], 7),
        ("localizer", [], 1),
    ],
)
def test_the_most_that_is_found_is_what_words_say(model: str, words: list[str], most: int) -> None:
    detector = sketch(configured([f"model={model}", "size=small", "run_dir=.", *words]))
    assert detector.most_found == most


@pytest.mark.parametrize(
    ("words", "most"),
    [
        (["tta=flip"], 20),
        (["tta=flip_merged"], 40),
        (["tta=flip_scales"], 100),
        (["tta=flip_scales", "tta.detections=30"], 30),
    ],
)
def test_the_most_that_is_found_counts_views(words: list[str], most: int) -> None:
    made = ["model=fcos", "size=small", "run_dir=.", "part.postprocess.detections=20"]
    detector = sketch(configured(made))
    cfg = compose([*words, "ckpt_path=none", "run_dir=none"], "evaluate")
    assert instantiate(cfg, "tta", detector=detector).most_found == most
