"""Overlaps in NumPy by hand, and equal to those of tensors."""

import numpy as np
import torch

from detectors.ops.boxes import pairwise_iou, pairwise_shape_iou
from detectors.ops.numpy_boxes import iou, overlap, shape_iou
from tests.examples import random_boxes

HALF = np.array([0.0, 0.0, 2.0, 1.0])
WHOLE = np.array([0.0, 0.0, 2.0, 2.0])
EMPTY = np.zeros(4)


def test_by_hand() -> None:
    assert iou(HALF, WHOLE) == 0.5
    assert iou(HALF, WHOLE + 1) == 0
    assert iou(HALF, WHOLE + np.array([1, 0, 1, 0])) == 1 / 5
    assert shape_iou(np.array([2.0, 1.0]), np.array([1.0, 4.0])) == 1 / 5


def test_of_what_is_ignored_the_share_inside_counts() -> None:
    crowd = np.array([-10.0, -10.0, 40.0, 40.0])
    both = np.stack([crowd, crowd, WHOLE])
    found = overlap(WHOLE, both, np.array([True, False, False]))
    np.testing.assert_allclose(found, [1.0, 4 / 2500, 1.0])
    assert overlap(WHOLE + 39, crowd, np.array(True)) == 1 / 4
    assert overlap(EMPTY, crowd, np.array(True)) == 0


def test_empty_boxes_overlap_nothing() -> None:
    assert iou(EMPTY, WHOLE) == iou(EMPTY, EMPTY) == shape_iou(EMPTY[:2], EMPTY[:2]) == 0


def test_is_that_of_tensors() -> None:
    a, b = random_boxes(5).double(), random_boxes(7).double()
    expected = pairwise_iou(a, b)
    found = torch.from_numpy(iou(a.numpy()[:, None], b.numpy()))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)  # sums in another order
    sides = [(boxes[:, 2:] - boxes[:, :2]) for boxes in (a, b)]
    found = torch.from_numpy(shape_iou(sides[0].numpy()[:, None], sides[1].numpy()))
    torch.testing.assert_close(found, pairwise_shape_iou(*sides), rtol=1e-12, atol=1e-12)
