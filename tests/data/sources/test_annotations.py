"""Packing keeps order, clips boxes and computes areas."""

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
