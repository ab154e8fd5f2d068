"""Measures mean and deviation of what a second stage is to regress, for each class."""

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectors.coders import ClassDelta
from detectors.data.module import DetectionData
from detectors.data.sources.annotations import examples
from detectors.detector import Detector
from detectors.fitted.detector import FittedDetector
from detectors.heads.two_stage import TwoStageHead
from detectors.ops.numpy_boxes import iou
from detectors.structures import Annotations

NEAR = 0.5  # IoU of a proposal with its object at least, TRAIN.BBOX_THRESH of fast-rcnn
FEWEST = 10  # proposals near objects of a class from which a deviation is taken
LEAST = 0.01  # deviation, so that what is all alike is not divided by 0

_log = logging.getLogger(__name__)


def measure_targets(
    detector: Detector | FittedDetector, data: DetectionData, loaded: bool = False
) -> None:
    """Give the coder of a second stage the figures of the training data, if it wants them.

    As fast-rcnn's `roidb.py`: of the proposals that overlap an object by half, and of the objects
    themselves, in the pictures and their mirror images; so the mean of the shift to the right is 0.
    Pictures need not be read. A class with few such proposals keeps the figures that it has.

    Args:
        loaded: the weights are those of another training: what predicts boxes is changed so that
            it predicts the same ones by the new figures.

    Raises:
        ValueError: a coder wants them that nobody can measure for.
    """
    wanting = [part for part in detector.modules() if isinstance(part, ClassDelta)]
    if not wanting:
        return
    head: Any = None if isinstance(detector, FittedDetector) else detector.head
    if not isinstance(head, TwoStageHead) or wanting != [head.coder] or not head.takes_proposals:
        raise ValueError(
            "ClassDelta takes mean and deviation of proposals, which are measured for the one look "
            "of model=fast_rcnn alone: take the coder detectors.coders.Delta"
        )
    coder, source = wanting[0], data.source("train")
    proposals = data.proposals_of("train")
    ids = source.annotations.image_ids.tolist()
    found = []
    for row, number in enumerate(ids):
        size = source.annotations.sizes[row]
        given = _windows(head, size) if proposals is None else proposals.boxes(number)
        found.append(_targets(given.astype(np.float64), source.annotations, row))
    labels, deltas = (np.concatenate(column) for column in zip(*found, strict=True))
    objects = np.bincount(_objects_of(source.annotations), minlength=len(data.classes))
    near = np.bincount(labels, minlength=len(data.classes)) - objects
    for label in (near >= FEWEST).nonzero()[0].tolist():
        own = deltas[labels == label]
        mean, square = own.mean(axis=0), np.square(own).mean(axis=0)
        mean[0] = 0.0
        deviation = np.sqrt((square - np.square(mean)).clip(min=LEAST**2))
        figures = torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()
        if loaded:
            _keep_boxes(head, label, *figures)
        coder.mean[label], coder.deviation[label] = figures
    if few := [data.classes[label] for label in (near < FEWEST).nonzero()[0].tolist()]:
        _log.warning(
            "box targets of classes that fewer than %d proposals overlap by half stay as they "
            "were: %s",
            *(FEWEST, examples(few)),
        )
    told = coder.deviation.mean(dim=0).tolist()
    shown = ", ".join(f"{value:.3f}" for value in told)
    _log.info("box targets of %d proposals: deviations %s on average", len(labels), shown)


def _objects_of(truth: Annotations) -> np.ndarray:
    """Labels [n] of the objects that count."""
    sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
    return truth.labels[~(truth.crowd | truth.difficult) & (sides > 0).all(axis=1)]


@torch.no_grad()
def _keep_boxes(head: TwoStageHead, label: int, mean: Tensor, deviation: Tensor) -> None:
    """Let the deltas of a class lead to the same boxes when its figures are these."""
    predictor: Any = head.region_head.predictor
    coder: Any = head.coder
    first = (1 + label) * coder.numbers  # behind those of the background
    rows, ratio = slice(first, first + coder.numbers), coder.deviation[label] / deviation
    predictor.deltas.weight[rows] *= ratio[:, None]
    bias = predictor.deltas.bias[rows]
    predictor.deltas.bias[rows] = bias * ratio + (coder.mean[label] - mean) / deviation


def _windows(head: TwoStageHead, size: np.ndarray) -> np.ndarray:
    """[n, 4] the windows that stand in the place of proposals, in a picture of this size."""
    assert head.windows is not None
    unit: Any = head.windows.unit.cpu().numpy()
    return unit * np.tile(size[::-1], 2)


def _targets(boxes: np.ndarray, truth: Annotations, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels [n] and deltas [n, 4] of a picture's objects and of the proposals near them."""
    rows = slice(truth.offsets[row], truth.offsets[row + 1])
    counted = ~(truth.crowd[rows] | truth.difficult[rows])
    objects, labels = truth.boxes[rows][counted].astype(np.float64), truth.labels[rows][counted]
    if not len(objects):
        return np.zeros(0, np.int64), np.zeros((0, 4))
    overlaps = iou(boxes[:, None], objects)
    near = (overlaps.max(axis=1) >= NEAR) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    owner = np.concatenate([np.arange(len(objects)), overlaps[near].argmax(axis=1)])
    regions = np.concatenate([objects, boxes[near]])
    sides = regions[:, 2:] - regions[:, :2]
    real = (sides > 0).all(axis=1)
    owner, regions, sides = owner[real], regions[real], sides[real]
    wanted = objects[owner]
    shift = (wanted[:, :2] + wanted[:, 2:] - regions[:, :2] - regions[:, 2:]) / 2 / sides
    growth = np.log((wanted[:, 2:] - wanted[:, :2]) / sides)
    return labels[owner], np.concatenate([shift, growth], axis=1)
