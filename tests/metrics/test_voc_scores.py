"""VOC's average precision by hand and against plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.metrics import PackedDetections, voc_scores
from detectors.structures import Annotations
from tests.metrics.metric_examples import annotations, packed

CORNERS = st.tuples(*[st.integers(0, 5)] * 4).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
OBJECTS = st.lists(
    st.tuples(
        st.sampled_from([2, 4]), st.integers(0, 1), CORNERS, st.sampled_from(["", "", "difficult"])
    ).map(lambda row: (row[0], row[1], *row[2], row[3])),
    max_size=8,
)
FOUND = st.lists(
    st.tuples(
        st.sampled_from([2, 4, 6]), st.integers(0, 2), st.sampled_from([0.1, 0.5, 0.9]), CORNERS
    ).map(lambda row: (*row[:3], *row[3])),
    max_size=20,
)


@given(OBJECTS, FOUND)
@settings(max_examples=200, deadline=None)
def test_equal_to_plain_loops(objects: list, found: list) -> None:
    truth = annotations({2: (9, 9), 4: (9, 9), 6: (9, 9)}, objects)
    assert voc_scores(truth, packed(found)) == pytest.approx(loops(truth, packed(found)), abs=1e-12)


def test_hand_worked_example() -> None:
    """Three objects; best first: right, repeated (wrong), right, nothing there (wrong).

    Precision 1, 1/2, 2/3, 1/2 at recall 1/3, 1/3, 2/3, 2/3. Eleven points: 1 at 0..0.3, 2/3 at
    0.4..0.6, then 0. Area: 1/3 * 1 + 1/3 * 2/3.
    """
    objects = [(1, 0, 0, 0, 10, 10), (1, 0, 20, 0, 30, 10), (1, 0, 40, 0, 50, 10)]
    found = [
        (1, 0, 0.9, 0, 0, 10, 10),
        (1, 0, 0.8, 0, 0, 10, 9),
        (1, 0, 0.7, 20, 0, 30, 10),
        (1, 0, 0.6, 60, 60, 70, 70),
    ]
    scores = voc_scores(annotations({1: (100, 100)}, objects), packed(found))
    assert scores["VOC_AP50_11point"] == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)
    assert scores["VOC_AP50_area"] == pytest.approx(1 / 3 + 2 / 9)


def test_difficult_objects_swallow_any_number_of_detections() -> None:
    truth = annotations(
        {1: (100, 100)}, [(1, 0, 0, 0, 10, 10), (1, 0, 50, 50, 60, 60, "difficult")]
    )
    found = [(1, 0, 0.9, 50, 50, 60, 60)] * 3 + [(1, 0, 0.8, 0, 0, 10, 10)]
    assert set(voc_scores(truth, packed(found)).values()) == {1.0}


def test_half_an_overlap_is_enough() -> None:
    truth = annotations({1: (100, 100)}, [(1, 0, 0, 0, 10, 10)])
    assert voc_scores(truth, packed([(1, 0, 0.9, 0, 0, 10, 5)]))["VOC_AP50_area"] == 1.0


def test_nothing_found_is_zero_and_nothing_to_find_undefined() -> None:
    truth = annotations({1: (100, 100)}, [(1, 0, 0, 0, 10, 10)])
    assert set(voc_scores(truth, packed([])).values()) == {0.0}
    difficult = annotations({1: (100, 100)}, [(1, 0, 0, 0, 10, 10, "difficult")])
    assert set(voc_scores(difficult, packed([])).values()) == {-1.0}


def loops(truth: Annotations, found: PackedDetections) -> dict[str, float]:
    """The development kit's loops: one detection after the other, best first."""
    eleven_points, areas = [], []
    for label in range(len(truth.classes)):
        wanted, right = judged(truth, found, label)
        if wanted == 0:
            continue
        points = [(sum(right[: n + 1]), n + 1) for n in range(len(right))]
        best = [
            max((tp / n for tp, n in points if 10 * tp >= tenth * wanted), default=0.0)
            for tenth in range(11)
        ]
        eleven_points.append(sum(best) / 11)
        reached = range(1, sum(right) + 1)
        areas.append(sum(max(tp / n for tp, n in points if tp >= k) for k in reached) / wanted)
    mean = {"VOC_AP50_11point": eleven_points, "VOC_AP50_area": areas}
    return {name: float(np.mean(values)) if values else -1.0 for name, values in mean.items()}


def judged(truth: Annotations, found: PackedDetections, label: int) -> tuple[int, list[bool]]:
    """Objects wanted, and right or wrong for each detection that counts, best first."""
    image = np.repeat(truth.image_ids, np.diff(truth.offsets))
    of_label = np.flatnonzero(truth.labels == label)
    rows = [row for row in range(len(found.labels)) if found.labels[row] == label]
    taken: set[int] = set()
    right = []
    for row in sorted(rows, key=lambda row: (-found.scores[row], found.image_ids[row], row)):
        best, best_overlap = -1, -1.0
        for index in of_label:
            overlap = iou(truth.boxes[index], found.boxes[row])
            if image[index] == found.image_ids[row] and overlap > best_overlap:
                best, best_overlap = index, overlap
        if best_overlap >= 0.5 and truth.difficult[best]:
            continue
        right.append(best_overlap >= 0.5 and best not in taken)
        if right[-1]:
            taken.add(best)
    return int((~truth.difficult[of_label]).sum()), right


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union else 0.0
