"""ATSS: each object has a threshold of its own, from the overlaps of the priors near it."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.prior_boxes import prior_boxes
from detectors.assigners.ties import assignable, highest
from detectors.ops.boxes import centers, pairwise_iou
from detectors.ranges import Count, Positive
from detectors.structures import Assignment, Predictions, Priors, Targets


class ATSS(Assigner):
    """Priors near an object that overlap it by its mean plus deviation (Zhang et al. 2020, Alg. 1).

    Candidates are, on each level, all priors at the `k` places whose centres lie nearest to the
    object's; places as near as the last of them count too, where the paper leaves ties open.
    Positive are candidates whose IoU reaches mean plus standard deviation of the object's
    candidates, and whose centre lies inside of it. Of several objects a prior takes the one it
    overlaps most. Nothing is ignored; an object that holds no centre has no prior.

    Args:
        k: places on each level.
        point_side: strides of the square that a point stands for.
    """

    inside = 0.01  # pixels that a centre lies within its object at least; the release's loss.py
    most_shapes = 16  # priors at one place

    def __init__(self, k: Count = 9, point_side: Positive = 8.0) -> None:
        super().__init__()
        self.k, self.point_side = k, point_side

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors."""
        priors, objects = predictions.priors, targets.boxes
        near = self._near(priors, objects)
        iou = pairwise_iou(objects, prior_boxes(priors, self.point_side))
        enough = iou >= threshold(iou, near) - 1e-6  # where all are equal, all of them pass
        held = near & enough & (depth(priors, objects) > self.inside)
        matched, positive = highest(held & assignable(targets)[:, :, None], iou)
        return Assignment(matched, positive, torch.zeros_like(positive))

    def _near(self, priors: Priors, objects: Tensor) -> Tensor:
        """Candidates of each object, [B, M, N] bool."""
        levels = centers(priors.boxes).split(list(priors.level_sizes), dim=1)
        return torch.cat([self._nearest(level, centers(objects)) for level in levels], dim=2)

    def _nearest(self, level: Tensor, middle: Tensor) -> Tensor:
        """The same of the priors of one level, centres [1 or B, n, 2]."""
        distance = (level[:, None] - middle[:, :, None]).square().sum(-1)
        shapes = (level[0] == level[0, :1]).all(-1).sum().view(1)
        count = min(self.k * self.most_shapes, level.shape[1])
        ascending = distance.topk(count, dim=2, largest=False).values
        last = (self.k * shapes).clamp(max=count) - 1
        return distance <= ascending.index_select(2, last)


def threshold(iou: Tensor, candidates: Tensor) -> Tensor:
    """Mean plus standard deviation of the candidates' overlaps, [B, M, N] to [B, M, 1].

    The deviation is divided by one less than their number, as in the release.
    """
    count = candidates.sum(2, keepdim=True)
    mean = (iou * candidates).sum(2, keepdim=True) / count
    squares = ((iou - mean).square() * candidates).sum(2, keepdim=True)
    return mean + (squares / (count - 1).clamp(min=1)).sqrt()


def depth(priors: Priors, objects: Tensor) -> Tensor:
    """Pixels from the centre of a prior to an object's nearest side, [B, M, N]; below 0 outside."""
    center, objects = centers(priors.boxes)[:, None], objects[:, :, None]
    return (center - objects[..., :2]).minimum(objects[..., 2:] - center).amin(-1)
