"""FCOS: points near the centre of an object, on the level that fits its size."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.ties import assignable, highest
from detectors.ops.boxes import area, centers
from detectors.ranges import Positive
from detectors.structures import Assignment, Predictions, Priors, Targets


class CenterSampling(Assigner):
    """Points inside the object and near its centre, sizes shared out to levels (FCOS, sec. 3.2).

    A level of stride s trains objects whose farthest side lies between `4 s` and `8 s` from the
    point; the finest level also takes all below and the coarsest all above. Both ends are
    exclusive, as in torchvision. Of several objects the smallest wins.

    Args:
        radius: how far from the centre a positive point may lie along either axis, in strides
            (centre sampling, 1.5).
    """

    def __init__(self, radius: Positive = 1.5) -> None:
        super().__init__()
        self.radius = radius

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] points; nothing is ignored."""
        priors = predictions.priors
        points = centers(priors.boxes)[:, None]  # [1, 1, N, 2]
        objects = targets.boxes[:, :, None]  # [B, M, 1, 4]
        sides = torch.cat([points - objects[..., :2], objects[..., 2:] - points], dim=-1)
        away = (points - centers(objects)).abs().amax(-1)  # [B, M, N]
        lower, upper = size_ranges(priors)
        reach = sides.amax(-1)
        assigned = (
            (away < self.radius * priors.stride)
            & (sides.amin(-1) > 0)
            & (reach > lower)
            & (reach < upper)
            & assignable(targets)[:, :, None]
        )
        matched, positive = highest(assigned, -area(targets.boxes)[:, :, None])
        return Assignment(matched, positive, torch.zeros_like(positive))


def size_ranges(priors: Priors) -> tuple[Tensor, Tensor]:
    """Smallest and largest distance to a side that each prior is made for, [N] each, in pixels."""
    stride = priors.stride
    lower = torch.where(stride == stride[0], 0.0, 4 * stride)
    upper = torch.where(stride == stride[-1], torch.inf, 8 * stride)
    return lower, upper
