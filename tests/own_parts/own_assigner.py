"""An assigner of one's own."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.ties import assignable, highest
from detectors.ops.boxes import area, centers
from detectors.structures import Assignment, Predictions, Targets


class Core(Assigner):
    """Priors whose centre lies in the middle part of an object, of several the smallest."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.part = part

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        objects = targets.boxes[:, :, None]
        away = (centers(predictions.priors.boxes)[:, None] - centers(objects)).abs()
        near = (away < self.part / 2 * (objects[..., 2:] - objects[..., :2])).all(-1)
        smallest = -area(targets.boxes)[:, :, None]
        matched, positive = highest(near & assignable(targets)[:, :, None], smallest)
        return Assignment(matched, positive, torch.zeros_like(positive))
