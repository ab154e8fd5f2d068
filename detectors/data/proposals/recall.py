"""How well proposals cover the objects of a data set."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detectors.ops.numpy_boxes import iou
from detectors.structures import Annotations

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
COUNTS = (100, 300, 1000, 2000)


class Coverage(NamedTuple):
    """Figures for the first so many proposals of each picture."""

    most: int  # proposals of a picture
    mean_count: float  # proposals that a picture has of them
    recall: tuple[float, ...]  # share of objects that one overlaps by each of THRESHOLDS or more
    abo: float  # mean over objects of the best overlap
    mabo: float  # mean over classes of that mean (Uijlings et al. 2013, sec. 5.1)


def coverage(
    boxes: Sequence[np.ndarray], truth: Annotations, counts: Sequence[int] = COUNTS
) -> list[Coverage]:
    """Figures for each count; crowds and difficult objects do not count.

    Args:
        boxes: [k, 4] of each picture, in its pixels, the first to be preferred.
        truth: of these pictures.

    Raises:
        ValueError: there is no object that counts.
    """
    best = np.concatenate([*_best(boxes, truth, counts), np.zeros((0, len(counts)))])
    counted = ~(truth.crowd | truth.difficult)
    if not counted.any():
        raise ValueError("there is no object to be covered: all are crowds or difficult")
    best, labels = best[counted], truth.labels[counted]
    return [_figures(best[:, k], labels, boxes, count) for k, count in enumerate(counts)]


def _best(
    boxes: Sequence[np.ndarray], truth: Annotations, counts: Sequence[int]
) -> list[np.ndarray]:
    """Of each picture [m, len(counts)] the best overlap of each object."""
    found = []
    for own, start, end in zip(boxes, truth.offsets[:-1], truth.offsets[1:], strict=True):
        objects = truth.boxes[start:end]
        nothing = np.zeros((len(objects), 1))
        overlaps = np.hstack([nothing, iou(objects[:, None], own[None].astype(np.float64))])
        so_far = np.maximum.accumulate(overlaps, axis=1)
        found.append(so_far[:, np.minimum(counts, len(own))])
    return found


def _figures(
    best: np.ndarray, labels: np.ndarray, boxes: Sequence[np.ndarray], count: int
) -> Coverage:
    classes = [float(best[labels == label].mean()) for label in np.unique(labels)]
    return Coverage(
        count,
        float(np.mean([min(len(own), count) for own in boxes])),
        tuple(float((best >= threshold).mean()) for threshold in THRESHOLDS),
        float(best.mean()),
        float(np.mean(classes)),
    )
