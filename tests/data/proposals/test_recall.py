"""Recall and best overlap of proposals, against a loop over objects and boxes."""

import numpy as np
import pytest

from detectors.data.proposals.dense import DenseWindows
from detectors.data.proposals.recall import THRESHOLDS, coverage
from detectors.ops.windows import unit_windows
from detectors.structures import Annotations


def annotated(*pictures: list[tuple]) -> Annotations:
    """Objects (label, x1, y1, x2, y2, difficult) of each picture."""
    rows = [row for picture in pictures for row in picture]
    count = len(rows)
    return Annotations(
        image_ids=np.arange(len(pictures)),
        sizes=np.full((len(pictures), 2), 100),
        offsets=np.cumsum([0, *map(len, pictures)]),
        boxes=np.array([row[1:5] for row in rows], np.float64).reshape(-1, 4),
        labels=np.array([row[0] for row in rows], np.int64),
        crowd=np.zeros(count, bool),
        difficult=np.array([row[5] for row in rows], bool),
        areas=np.zeros(count),
        classes=("a", "b"),
        category_ids=(1, 2),
    )


def random_case(seed: int) -> tuple[list[np.ndarray], Annotations]:
    rng = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        corner = rng.random((count, 2)) * 60
        return np.hstack([corner, corner + 5 + rng.random((count, 2)) * 35]).astype(np.float32)

    pictures = [
        [(int(rng.integers(2)), *box.tolist(), bool(rng.random() < 0.2)) for box in boxes(count)]
        for count in (3, 0, 5, 1)
    ]
    return [boxes(count) for count in (40, 10, 3, 0)], annotated(*pictures)


def naive(proposals: list[np.ndarray], truth: Annotations, count: int) -> tuple[list[float], float]:
    """Recalls and ABO, object by object."""
    best = []
    for picture, own in enumerate(proposals):
        for row in range(truth.offsets[picture], truth.offsets[picture + 1]):
            if not truth.difficult[row]:
                best.append(max([overlap(truth.boxes[row], box) for box in own[:count]] + [0.0]))
    return [sum(b >= t for b in best) / len(best) for t in THRESHOLDS], sum(best) / len(best)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_a_loop(seed: int) -> None:
    proposals, truth = random_case(seed)
    for found in coverage(proposals, truth, counts=(1, 5, 100)):
        recalls, abo = naive(proposals, truth, found.most)
        assert found.recall == pytest.approx(recalls)
        assert found.abo == pytest.approx(abo)
        assert found.mean_count == np.mean([min(len(own), found.most) for own in proposals])


def test_the_mean_over_classes_counts_each_class_once() -> None:
    box = (10.0, 10.0, 20.0, 20.0)
    truth = annotated([(0, *box, False), (0, *box, False), (1, 50.0, 50.0, 60.0, 60.0, False)])
    found = coverage([np.array([box], np.float32)], truth, counts=(1,))[0]
    assert (found.abo, found.mabo) == (pytest.approx(2 / 3), pytest.approx(1 / 2))


def test_nothing_to_cover_is_refused() -> None:
    with pytest.raises(ValueError, match="no object to be covered"):
        coverage([np.zeros((0, 4))], annotated([(0, 1.0, 1.0, 2.0, 2.0, True)]))


def test_windows_are_a_regular_grid() -> None:
    halves = unit_windows([0.5], [1.0], 0.5)
    starts = [(x, y) for y in (0.0, 0.25, 0.5) for x in (0.0, 0.25, 0.5)]
    np.testing.assert_allclose(halves, [[x, y, x + 0.5, y + 0.5] for x, y in starts])
    assert unit_windows([1.0], [0.5, 1.0, 2.0], 0.5).max() <= 1
    every = unit_windows()
    assert len(np.unique(every, axis=0)) == len(every)


def test_dense_windows_lie_in_the_picture_in_another_order_for_each_draw() -> None:
    method, image = DenseWindows(), np.zeros((50, 80, 3), np.uint8)
    first, other = (method(image, np.random.default_rng(seed)) for seed in (0, 1))
    assert (first >= 0).all()
    assert (first <= [80, 50, 80, 50]).all()
    assert first.tolist() != other.tolist()
    assert sorted(first.tolist()) == sorted(other.tolist())


def test_windows_larger_than_the_picture_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sides in \(0, 1\]"):
        DenseWindows(sides=(1.5,))
