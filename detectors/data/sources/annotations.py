"""Packs ground truth into arrays, and decides what becomes of mistakes in files.

What can be used is used: a box that reaches over the edge of its image is clipped. What is dropped
is counted and logged once per reading, with examples. What makes the data meaningless raises
ValueError at once, naming file, line or id, and the remedy.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from detectors.structures import Annotations

logger = logging.getLogger(__name__)

SHOWN = 3  # examples in a message


def examples(names: Sequence[object]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(str(name) for name in names[:SHOWN]) + more


class Findings:
    """Collects what a reader dropped or mended, to log it in one message."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.lines: list[str] = []

    def add(self, what: str, names: Sequence[object]) -> None:
        """Notes that `what` happened to `names`; nothing where there are none."""
        if len(names):
            self.lines.append(f"{len(names)} {what}: {examples(names)}")

    def log(self) -> None:
        if self.lines:
            logger.warning("%s: %s", self.origin, "; ".join(self.lines))


class Objects(NamedTuple):
    """Objects as a file gives them, in any order; the boxes are not checked yet."""

    image: np.ndarray  # [n] int64, row of the image
    boxes: np.ndarray  # [n, 4] float64 xyxy pixels
    labels: np.ndarray  # [n] int64 in 0..C-1
    crowd: np.ndarray  # [n] bool
    difficult: np.ndarray  # [n] bool
    areas: np.ndarray  # [n] float64; NaN: that of the box


def packed(
    image_ids: np.ndarray,
    sizes: np.ndarray,
    objects: Objects,
    classes: Sequence[str],
    category_ids: Sequence[int],
    where: Callable[[int], str],
    findings: Findings,
) -> Annotations:
    """Annotations sorted by image, every box with an area and inside its image.

    Args:
        image_ids: [I], unique.
        sizes: [I, 2] (height, width) in pixels.
        where: names the place in the files that row k of `objects` came from.
        findings: receives what was clipped and dropped, and is logged.

    Raises:
        ValueError: no image, no object, an image without size, or a box that is not finite.
    """
    _check(image_ids, sizes, objects, where, findings.origin)
    boxes = _clipped(objects.boxes, sizes[objects.image])
    outside = np.abs(boxes - objects.boxes).max(axis=1) > 0.5  # less is rounding
    real = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    findings.add(
        "boxes clipped to their image", [where(k) for k in np.flatnonzero(outside & real).tolist()]
    )
    findings.add("boxes without area dropped", [where(k) for k in np.flatnonzero(~real).tolist()])
    findings.log()
    rows = np.flatnonzero(real)
    rows = rows[np.argsort(objects.image[rows], kind="stable")]
    boxes = boxes[rows]
    areas = objects.areas[rows]
    counts = np.bincount(objects.image[rows], minlength=len(image_ids))
    return Annotations(
        image_ids=image_ids.astype(np.int64),
        sizes=sizes.astype(np.int64),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=boxes,
        labels=objects.labels[rows],
        crowd=objects.crowd[rows],
        difficult=objects.difficult[rows],
        areas=np.where(np.isnan(areas), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), areas),
        classes=tuple(classes),
        category_ids=tuple(category_ids),
    )


def _check(
    image_ids: np.ndarray,
    sizes: np.ndarray,
    objects: Objects,
    where: Callable[[int], str],
    origin: str,
) -> None:
    if not len(image_ids):
        raise ValueError(f"{origin}: the split is empty, it names no image; is it the right one?")
    if len(sized := np.flatnonzero((sizes <= 0).any(axis=1))):
        names = [int(image_ids[k]) for k in sized]
        raise ValueError(
            f"{origin}: {len(names)} images of height or width 0, ids {examples(names)}; "
            "write their true size in pixels"
        )
    if not len(objects.boxes):
        raise ValueError(
            f"{origin}: none of the {len(image_ids)} images has an object; "
            "are the annotations those of these images?"
        )
    if len(wrong := np.flatnonzero(~np.isfinite(objects.boxes).all(axis=1))):
        raise ValueError(
            f"{origin}: {len(wrong)} boxes with a coordinate that is no finite number, at "
            f"{examples([where(k) for k in wrong.tolist()])}; correct or delete them"
        )


def _clipped(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    limits = sizes[:, [1, 0, 1, 0]]  # width, height, width, height
    return np.clip(boxes, 0.0, limits)
