"""FoveaBox: points in the middle part of an object, on every level that fits its size."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.ties import assignable, highest
from detectors.ops.boxes import area, centers, sides
from detectors.ranges import Positive
from detectors.structures import Assignment, Predictions, Priors, Targets


class Fovea(Assigner):
    """Cells of the shrunk object, on levels of its scale (Kong et al. 2020, "Object Fovea").

    A level of stride s trains objects whose root of area lies between `low` and `high` times s,
    both ends included, so that an object has several levels; the finest level also takes all below
    and the coarsest all above, where the release has limits of 1 and 2048 pixels. The fovea is the
    object shrunk to `share` of its sides; positive are the cells whose middle lies in it, moved
    into the map where it lies beyond the last middle, as in the release. Of several objects the
    smallest wins. Nothing is ignored.

    Args:
        share: sigma, of the sides.
        low, high: ends of a level, in strides; 2 and 8 are the release's 32 to 128 at stride 16.
    """

    def __init__(self, share: Positive = 0.4, low: Positive = 2.0, high: Positive = 8.0) -> None:
        super().__init__()
        self.share, self.low, self.high = share, low, high

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors."""
        priors = predictions.priors
        inside = self._in_fovea(priors, targets.boxes)
        assigned = inside & self._of_level(priors, targets) & assignable(targets)[:, :, None]
        matched, positive = highest(assigned, -area(targets.boxes)[:, :, None])
        return Assignment(matched, positive, torch.zeros_like(positive))

    def _of_level(self, priors: Priors, targets: Targets) -> Tensor:
        """Objects whose scale the level of a prior is made for, [B, M, N] bool."""
        scale = area(targets.boxes).sqrt()[:, :, None]
        lower = torch.where(priors.stride == priors.stride[0], 0.0, self.low * priors.stride)
        upper = torch.where(
            priors.stride == priors.stride[-1], torch.inf, self.high * priors.stride
        )
        return (scale >= lower) & (scale <= upper)

    def _in_fovea(self, priors: Priors, objects: Tensor) -> Tensor:
        """Cells of each object's fovea, [B, M, N] bool."""
        stride = priors.stride[:, None]
        height, width = priors.canvas
        last = (torch.tensor([width, height], device=stride.device) / stride).ceil() - 1
        cell = (centers(priors.boxes) / stride).floor()[:, None]
        middle = centers(objects)[:, :, None] / stride
        half = self.share / 2 * sides(objects)[:, :, None] / stride
        first = (middle - half - 0.5).ceil().clamp(min=0).minimum(last)
        final = (middle + half - 0.5).floor().clamp(min=0).minimum(last)
        return ((cell >= first) & (cell <= final)).all(-1)
