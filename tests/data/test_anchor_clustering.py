"""Clusters of box shapes."""

import numpy as np
import pytest

from detectors.data.anchor_clustering import canvas_shapes, clustered_shapes
from detectors.data.augment.transforms import Letterbox, Stretch
from detectors.data.sources.unlabelled import unannotated
from detectors.ops.numpy_boxes import shape_iou


def test_iou_of_centred_shapes_by_hand() -> None:
    iou = shape_iou(np.array([[[2.0, 2.0]]]), np.array([[2.0, 2.0], [1.0, 1.0], [4.0, 1.0]]))
    np.testing.assert_allclose(iou, [[1, 1 / 4, 2 / 6]])


def test_separate_groups_are_found_and_sorted_by_area() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[10.0, 10.0], [20.0, 60.0], [60.0, 20.0], [100.0, 100.0]])
    shapes = np.concatenate([centre * rng.uniform(0.95, 1.05, (50, 2)) for centre in centres])
    found, fit = clustered_shapes(shapes, 4)
    assert (np.diff(found.prod(axis=1)) >= 0).all()
    assert shape_iou(centres[:, None], found).max(axis=1).min() > 0.95
    assert fit > 0.94


def test_more_shapes_fit_better_and_the_seed_decides() -> None:
    shapes = np.exp(np.random.default_rng(1).normal(3, 0.7, (400, 2)))
    fits = [clustered_shapes(shapes, count)[1] for count in (1, 3, 6, 12)]
    assert fits == sorted(fits)
    np.testing.assert_array_equal(clustered_shapes(shapes, 5)[0], clustered_shapes(shapes, 5)[0])


def test_as_many_shapes_as_boxes_fit_exactly_and_more_are_refused() -> None:
    shapes = np.array([[1.0, 2.0], [5.0, 5.0], [9.0, 3.0], [5.0, 5.0]])
    assert clustered_shapes(shapes, 3)[1] == pytest.approx(1)
    with pytest.raises(ValueError, match="4 shapes, the data has 3 different"):
        clustered_shapes(shapes, 4)


@pytest.mark.parametrize("digits", [6, 16])
def test_objects_of_one_size_but_for_rounding_are_refused(digits: int) -> None:
    """200 objects of 50 x 50 in 640 pixels, written as decimals of so many digits."""
    centres = np.round((np.random.default_rng(0).integers(0, 590, 200) + 25) / 640, digits)
    half = np.round(50 / 640, digits) / 2
    widths = (centres + half) * 640 - (centres - half) * 640
    with pytest.raises(ValueError, match=r"two of those found are one: \[50.0, 50.0\]|different"):
        clustered_shapes(np.stack([widths, np.roll(widths, 1)], axis=1), 9)


def test_boxes_are_measured_on_the_canvas_without_crowds() -> None:
    """A 10 x 20 box in 50 x 100 pixels and one of its size in 100 x 100."""
    truth = unannotated(np.array([[50, 100], [100, 100]]))._replace(
        offsets=np.array([0, 1, 3]),
        boxes=np.array([[0.0, 0, 20, 10], [5, 5, 25, 15], [0, 0, 9, 9]]),
        crowd=np.array([False, False, True]),
    )
    np.testing.assert_allclose(canvas_shapes(truth, Letterbox(50)), [[10, 5], [10, 5]])
    np.testing.assert_allclose(canvas_shapes(truth, Stretch(50)), [[10, 10], [10, 5]])
