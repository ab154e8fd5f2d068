"""One object an image: the largest."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.ties import assignable, highest
from detectors.ops.boxes import area
from detectors.structures import Assignment, Predictions, Targets


class Largest(Assigner):
    """Every prior is to predict the largest object of its image, the first of several as large.

    For the one prior of an image with one object. No prior is ignored: in an image without an
    object all are background.
    """

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors."""
        there = assignable(targets)[:, :, None].expand(-1, -1, boxes.shape[1])
        matched, positive = highest(there, area(targets.boxes)[:, :, None])
        return Assignment(matched, positive, torch.zeros_like(positive))
