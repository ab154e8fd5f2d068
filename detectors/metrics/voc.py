"""Average precision at IoU 0.5 by the rules of the PASCAL VOC development kit.

Each detection looks at the one object of its class that it overlaps most; so all are matched at
once, and only the first by score to reach an object is right (VOCevaldet.m of VOCdevkit 2012).
Boxes are continuous, so no pixel is added to widths: inclusive corners are the reader's matter.
"""

import numpy as np

from detectors.metrics.packed import PackedDetections
from detectors.ops.numpy_boxes import iou
from detectors.structures import Annotations

UNDEFINED = -1.0  # without any object to find


def voc_scores(truth: Annotations, found: PackedDetections) -> dict[str, float]:
    """AP50, the mean over classes, in both forms: VOC 2007's eleven points, the area since 2010.

    Difficult objects (and crowds) are ignored: neither wanted nor wrong when found, however often.
    Classes without other objects are left out of the mean; -1 if there is no class left. All
    detections count, not the best hundred.

    Args:
        truth: the evaluated images, ids rising.
        found: detections in these images; equal scores rank by image id, then as they stand.
    """
    image = np.searchsorted(truth.image_ids, found.image_ids)
    ranking = np.lexsort([image, -found.scores, found.labels])
    ranked = PackedDetections(*(column[ranking] for column in found))
    ignored = truth.difficult | truth.crowd
    right, counted = _judged(truth, ranked, image[ranking], ignored)
    bounds = np.searchsorted(ranked.labels, np.arange(len(truth.classes) + 1))
    wanted = np.bincount(truth.labels[~ignored], minlength=len(truth.classes))
    eleven_points, areas = [], []
    for label in np.flatnonzero(wanted):
        part = slice(bounds[label], bounds[label + 1])
        curve = _curve(right[part][counted[part]], wanted[label])
        eleven_points.append(eleven_point_precision(*curve))
        areas.append(area_precision(*curve))
    return {
        "VOC_AP50_11point": float(np.mean(eleven_points)) if areas else UNDEFINED,
        "VOC_AP50_area": float(np.mean(areas)) if areas else UNDEFINED,
    }


def eleven_point_precision(precision: np.ndarray, recall: np.ndarray) -> float:
    """Mean over recalls 0, 0.1, ..., 1 of the best precision at that recall or more (VOC 2007)."""
    points = np.arange(11) / 10  # not multiples of 0.1: these equal any tp / wanted exactly
    reached = recall >= points[:, None]
    return float(np.where(reached, precision, 0.0).max(axis=1, initial=0.0).mean())


def area_precision(precision: np.ndarray, recall: np.ndarray) -> float:
    """Area below the precision made falling in recall (VOC 2010 and later)."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def _curve(right: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall after each detection of one class, scores falling."""
    true_positives = np.cumsum(right)
    return true_positives / np.arange(1, len(right) + 1), true_positives / wanted


def _judged(
    truth: Annotations, ranked: PackedDetections, image: np.ndarray, ignored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which detections, best first, are right, and which count at all ([n] bool each)."""
    right = np.zeros(len(image), dtype=bool)
    counted = np.ones(len(image), dtype=bool)
    detection, object_, overlap = _best_overlaps(truth, ranked, image)
    hit = overlap >= 0.5
    detection, object_ = detection[hit], object_[hit]
    counted[detection[ignored[object_]]] = False
    _, first = np.unique(object_, return_index=True)
    right[detection[first]] = True
    return right & counted, counted


def _best_overlaps(
    truth: Annotations, ranked: PackedDetections, image: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of detections that share image and class with an object, of their best object, IoU."""
    classes = len(truth.classes)
    groups = truth.owners() * classes + truth.labels
    order = np.argsort(groups, kind="stable")
    group = image * classes + ranked.labels
    start = np.searchsorted(groups[order], group)
    count = np.searchsorted(groups[order], group, side="right") - start
    detection = np.repeat(np.arange(len(group)), count)
    first_pair = np.cumsum(count) - count
    object_ = order[np.arange(len(detection)) + np.repeat(start - first_pair, count)]
    overlap = iou(ranked.boxes[detection], truth.boxes[object_])
    best = np.lexsort([-overlap, detection])[first_pair[count > 0]]
    return detection[best], object_[best], overlap[best]
