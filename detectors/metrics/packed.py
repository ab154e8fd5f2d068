"""Packs detections and annotations into arrays, without a Python object per image or box."""

from typing import NamedTuple

import numpy as np

from detectors.structures import Annotations


class PackedDetections(NamedTuple):
    """The detections of many images, in pixels of the original images."""

    image_ids: np.ndarray  # [n] int64
    labels: np.ndarray  # [n] int64 in 0..C-1
    scores: np.ndarray  # [n] float64
    boxes: np.ndarray  # [n, 4] float64 xyxy


def select_images(annotations: Annotations, image_ids: np.ndarray) -> Annotations:
    """The annotations of the images `image_ids` alone, in the order of `image_ids`.

    Raises:
        ValueError: an id is not annotated.
    """
    rows = _rows_of(annotations, image_ids)
    counts = np.diff(annotations.offsets)[rows]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    shift = np.repeat(annotations.offsets[rows] - offsets[:-1], counts)
    objects = np.arange(offsets[-1]) + shift
    return annotations._replace(
        image_ids=annotations.image_ids[rows],
        sizes=annotations.sizes[rows],
        offsets=offsets,
        boxes=annotations.boxes[objects],
        labels=annotations.labels[objects],
        crowd=annotations.crowd[objects],
        difficult=annotations.difficult[objects],
        areas=annotations.areas[objects],
    )


def xywh(boxes: np.ndarray) -> np.ndarray:
    """[n, 4] x, y, width, height of xyxy boxes: the form of COCO's files."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _rows_of(annotations: Annotations, image_ids: np.ndarray) -> np.ndarray:
    order = np.argsort(annotations.image_ids, kind="stable")
    ordered = annotations.image_ids[order]
    place = np.searchsorted(ordered, image_ids)
    unknown = image_ids[~np.isin(image_ids, ordered)]
    if unknown.size:
        raise ValueError(
            f"{unknown.size} of {image_ids.size} evaluated images have no annotations, for example "
            f"image id {unknown[0]}; give the metric the annotations of the split that is evaluated"
        )
    return order[place]
