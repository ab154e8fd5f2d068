"""Cuts or drops objects where part of an image is covered."""

import cv2
import numpy as np

from detectors.data.augment.transforms import chosen
from detectors.structures import Sample


def pixels(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[n, 4] int: boxes rounded to whole pixels of an image [H, W], at least one pixel each."""
    height, width = shape
    whole = np.rint(boxes).astype(int).reshape(-1, 4)
    start = np.clip(whole[:, :2], 0, [width - 1, height - 1])
    return np.concatenate([start, np.clip(whole[:, 2:], start + 1, [width, height])], axis=1)


def shown_shares(boxes: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """[n] part of the pixels of each box that is not covered.

    Args:
        boxes: [n, 4] inside the image.
        covered: [H, W] bool.
    """
    left, top, right, bottom = pixels(boxes, covered.shape).T
    sums = cv2.integral(covered.astype(np.uint8))
    hidden = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return 1 - hidden / ((right - left) * (bottom - top))


def without_hidden(sample: Sample, covered: np.ndarray, visible: float) -> Sample:
    """The sample without the objects of which less than `visible` shows."""
    return chosen(sample, shown_shares(sample.boxes, covered) >= visible)


def cut_to_shown(sample: Sample, covered: np.ndarray) -> Sample:
    """The sample, each partly covered box shrunk to the pixels that still show.

    Only sides behind which nothing shows move. Of every object something must show.
    """
    boxes = sample.boxes.copy()
    whole = pixels(boxes, covered.shape)
    for row in np.flatnonzero(shown_shares(boxes, covered) < 1):
        shown = _bounds(covered, whole[row])
        boxes[row] = np.where(shown == whole[row], boxes[row], shown)
    return sample._replace(boxes=boxes)


def _bounds(covered: np.ndarray, box: np.ndarray) -> np.ndarray:
    """[4] of the pixels of a box [4] that are not covered."""
    left, top, right, bottom = box
    free = ~covered[top:bottom, left:right]
    rows, columns = np.flatnonzero(free.any(axis=1)), np.flatnonzero(free.any(axis=0))
    return np.array([left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1])
