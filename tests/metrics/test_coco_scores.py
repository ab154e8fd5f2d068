"""COCO's scores equal pycocotools', and cover what pycocotools leaves open."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.metrics import coco_results, coco_scores
from tests.metrics.metric_examples import annotations, packed, pycocotools_scores

SIZES = {12: (200, 200), 5: (200, 200), 7: (200, 200), 900: (200, 200)}
CORNERS = st.tuples(*[st.integers(0, 6)] * 4).map(
    lambda c: (
        20 * min(c[0], c[2]),
        20 * min(c[1], c[3]),
        20 * max(c[0], c[2]),
        20 * max(c[1], c[3]),
    )
)
# Image 900 is never annotated, class 2 never found; few scores and corners, so there are many ties.
OBJECTS = st.lists(
    st.tuples(
        st.sampled_from([12, 5, 7]), st.integers(0, 2), CORNERS, st.sampled_from(["", "", "crowd"])
    ).map(lambda row: (row[0], row[1], *row[2], row[3])),
    max_size=8,
)
FOUND = st.lists(
    st.tuples(
        st.sampled_from([12, 5, 900]), st.integers(0, 1), st.sampled_from([0.1, 0.5, 0.9]), CORNERS
    ).map(lambda row: (*row[:3], *row[3])),
    max_size=20,
)


@given(OBJECTS, FOUND, st.permutations([3, 7, 90]))
@settings(max_examples=150, deadline=None)
def test_equal_to_pycocotools(objects: list, found: list, category_ids: list) -> None:
    truth = annotations(dict(sorted(SIZES.items())), objects, tuple(category_ids))
    expected = pycocotools_scores(truth, coco_results(packed(found), category_ids))
    assert coco_scores(truth, packed(found)) == expected


def test_equal_to_pycocotools_with_many_detections_an_image() -> None:
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 200, (300, 2, 2)), axis=1).reshape(-1, 4)
    objects = [(5, row % 3, *box) for row, box in enumerate(corners[:40])]
    near = np.concatenate([corners, corners + rng.normal(0, 3, corners.shape)])
    near[:, 2:] = np.maximum(near[:, :2], near[:, 2:])
    scores = rng.random(len(near)).round(2)
    found = [(5, row % 3, scores[row], *box) for row, box in enumerate(near)]
    truth = annotations({5: (200, 200)}, objects)
    expected = pycocotools_scores(truth, coco_results(packed(found), truth.category_ids))
    assert coco_scores(truth, packed(found)) == expected


def test_hand_worked_example() -> None:
    """Best first: right, wrong, right; so precision is 1 up to recall 1/2 and 2/3 up to 1."""
    truth = annotations({1: (100, 100)}, [(1, 0, 0, 0, 10, 10), (1, 0, 50, 50, 60, 60)])
    found = packed(
        [(1, 0, 0.9, 0, 0, 10, 10), (1, 0, 0.8, 20, 20, 30, 30), (1, 0, 0.7, 50, 50, 60, 60)]
    )
    scores = coco_scores(truth, found)
    assert scores["AP"] == scores["AP/class0"] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert scores["AR1"] == 0.5
    assert scores["AR100"] == scores["ARs"] == 1.0
    assert scores["ARl"] == scores["AP/class1"] == -1.0


def test_a_difficult_object_is_neither_wanted_nor_wrong_when_found_once() -> None:
    easy, difficult = (1, 0, 0, 0, 10, 10), (1, 0, 50, 50, 60, 60, "difficult")
    truth = annotations({1: (100, 100)}, [easy, difficult])
    found = [(1, 0, 0.9, 50, 50, 60, 60), (1, 0, 0.8, 0, 0, 10, 10)]
    assert coco_scores(truth, packed(found))["AP"] == pytest.approx(1)
    twice = packed([found[0], *found])
    assert coco_scores(truth, twice)["AP"] == pytest.approx(0.5)


def test_a_detection_in_another_image_is_refused() -> None:
    truth = annotations({1: (100, 100), 5: (100, 100)}, [(5, 0, 0, 0, 10, 10)])
    with pytest.raises(ValueError, match=r"1 detections are in images .* such as image 3"):
        coco_scores(truth, packed([(3, 0, 0.9, 0, 0, 10, 10)]))


def test_nothing_found_is_zero_and_nothing_to_find_undefined() -> None:
    truth = annotations({1: (100, 100)}, [(1, 0, 0, 0, 10, 10)])
    scores = coco_scores(truth, packed([]))
    assert scores["AP"] == scores["AP50"] == scores["AR100"] == scores["AP/class0"] == 0
    nothing = annotations({1: (100, 100)}, [])
    assert set(coco_scores(nothing, packed([(1, 0, 0.5, 0, 0, 9, 9)])).values()) == {-1.0}
