"""Packing keeps order, clips boxes and computes areas."""

import logging

import numpy as np

from detectors.data.sources.annotations import Findings, Objects, packed


def test_rows_in_any_order_are_grouped_by_image_and_keep_their_order_there() -> None:
    rng = np.random.default_rng(0)
    count = 200
    corners = rng.uniform(-5, 40, (count, 2, 2))
    objects = Objects(
        image=rng.integers(0, 20, count),
        boxes=np.concatenate([corners.min(1), corners.max(1)], axis=1),
        labels=rng.integers(0, 3, count),
        crowd=rng.random(count) < 0.1,
        difficult=rng.random(count) < 0.1,
        areas=np.full(count, np.nan),
    )
    sizes = rng.integers(20, 40, (20, 2))
    truth = packed(np.arange(20), sizes, objects, list("abc"), range(3), str, Findings("x"))
    expected = []
    for image in range(20):
        height, width = sizes[image]
        for k in np.flatnonzero(objects.image == image):
            x0, y0, x1, y1 = objects.boxes[k]
            box = [max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)]
            if box[2] > box[0] and box[3] > box[1]:
                expected.append((image, *box, objects.labels[k], objects.crowd[k]))
    owner = np.repeat(np.arange(20), np.diff(truth.offsets))
    found = np.column_stack([owner, truth.boxes, truth.labels, truth.crowd])
    np.testing.assert_array_equal(found, np.array(expected))
    np.testing.assert_allclose(
        truth.areas, np.prod(truth.boxes[:, 2:] - truth.boxes[:, :2], axis=1)
    )


def test_objects_that_repeat_another_are_told_and_kept(caplog) -> None:
    boxes = np.array([[1, 1, 5, 5], [1, 1, 5, 5], [1, 1, 5, 5], [1, 1, 5, 5], [0, 0, 2, 2]], float)
    objects = Objects(
        image=np.array([0, 0, 1, 0, 0]),
        boxes=boxes,
        labels=np.array([0, 1, 0, 0, 0]),
        crowd=np.zeros(5, bool),
        difficult=np.zeros(5, bool),
        areas=np.full(5, np.nan),
    )
    sizes = np.full((2, 2), 9)
    with caplog.at_level(logging.WARNING):
        truth = packed(np.arange(2), sizes, objects, ["a", "b"], range(2), str, Findings("x"))
    assert len(truth.labels) == 5
    assert "1 objects with the class and box of another in their image, kept: 3" in caplog.text
