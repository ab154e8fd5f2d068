"""Adds a known share of annotation mistakes to any data set."""

from collections.abc import Callable

import numpy as np

from detectors.data.ranges import check, within
from detectors.data.sources.base import Source, View
from detectors.random_streams import stream
from detectors.structures import Annotations


class LabelNoise(View):
    """The images of a source with some of their annotations spoilt; meant for training only.

    Every object has its own row of random numbers and every kind of mistake its own column, so
    that a greater share spoils further objects and keeps those spoilt before.

    Args:
        read: gives the images with their true annotations, which stay at `source`.
        wrong_class: share of the objects that get another class, all others equally likely.
        jitter: each side of a box moves by up to this share of the box's width or height, uniformly
            in or out, and not beyond the image.
        missing: share of the objects left out.
        seed: any integer that is not negative.

    Raises:
        ValueError: a share is outside its range, or wrong classes are wanted of a single class.
    """

    def __init__(
        self,
        read: Callable[[], Source],
        wrong_class: float = 0.0,
        jitter: float = 0.0,
        missing: float = 0.0,
        seed: int = 0,
    ) -> None:
        shares = within("wrong_class", wrong_class, "[0, 1]"), within("missing", missing, "[0, 1)")
        check("label noise", *shares, within("jitter", jitter, "[0, 0.5)"))
        source = read()
        if wrong_class > 0 and len(source.annotations.classes) < 2:
            raise ValueError("label noise: wrong_class needs two classes, the data set has one")
        objects = len(source.annotations.labels)
        draws = stream(seed, name="label noise").random((objects, 7))
        noisy = _with_wrong_classes(source.annotations, draws[:, 0] < wrong_class, draws[:, 1])
        noisy = _with_moved_boxes(noisy, jitter * (2 * draws[:, 2:6] - 1))
        super().__init__(source, _selected(noisy, draws[:, 6] >= missing))


def _with_wrong_classes(truth: Annotations, wrong: np.ndarray, draws: np.ndarray) -> Annotations:
    classes = len(truth.classes)
    shift = 1 + np.floor(draws * (classes - 1)).astype(np.int64)
    return truth._replace(labels=np.where(wrong, (truth.labels + shift) % classes, truth.labels))


def _with_moved_boxes(truth: Annotations, moves: np.ndarray) -> Annotations:
    """Moves `[n, 4]` are shares of width and height; the areas stay those of the true objects."""
    extents = np.tile(truth.boxes[:, 2:] - truth.boxes[:, :2], 2)
    heights, widths = truth.sizes[truth.owners()].T
    limits = np.stack([widths, heights, widths, heights], axis=1)
    return truth._replace(boxes=(truth.boxes + moves * extents).clip(0, limits))


def _selected(truth: Annotations, kept: np.ndarray) -> Annotations:
    """The annotations of the objects in the mask; images without an object stay."""
    before = np.concatenate([[0], np.cumsum(kept)])
    columns = ("boxes", "labels", "crowd", "difficult", "areas")
    chosen = {name: getattr(truth, name)[kept] for name in columns}
    return truth._replace(offsets=before[truth.offsets], **chosen)
