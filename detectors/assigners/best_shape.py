"""YOLOv2 and v3: the prior of best shape in the cell that holds the object's centre."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.ties import assignable, last, multi_hot
from detectors.ops.boxes import centers, pairwise_iou, pairwise_shape_iou, sides
from detectors.ranges import Share
from detectors.structures import Assignment, Pairs, Predictions, Priors, Targets


class BestShape(Assigner):
    """One prior per object: of all that share the centre's cell, the one of most similar shape.

    Shapes are compared on a common centre over all levels at once, so only the level that owns the
    best prior trains on the object (YOLOv3, sec. 2.1 and 2.3). Where several objects want one prior
    all keep their class; the last one keeps the box in the yolo layer of pjreddie's darknet, while
    AlexeyAB's adds up what each of them asks for.

    Args:
        ignore: a background prior whose decoded box overlaps any object by more is ignored.
        summed: whether a prior learns the boxes of all of its objects, as in AlexeyAB's darknet.
    """

    own_classes = True

    def __init__(self, ignore: Share, summed: bool = False) -> None:
        super().__init__()
        self.ignore, self.summed = ignore, summed

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors, with multi-hot class targets and, if summed, pairs."""
        priors, real = predictions.priors, assignable(targets)[:, :, None]
        shape = pairwise_shape_iou(sides(targets.boxes), sides(priors.boxes))
        shape = shape.masked_fill(~(holds_center(priors, targets.boxes) & real), -1.0)
        best = shape.argmax(dim=2, keepdim=True)  # the finest level wins a tie, as in darknet
        assigned = torch.zeros_like(shape, dtype=torch.bool).scatter(2, best, real)
        matched, positive = last(assigned)
        covered = pairwise_iou(targets.boxes, boxes).masked_fill(~real, 0.0).amax(1)
        scores = multi_hot(assigned, targets.labels, predictions.logits.shape[-1])
        pairs = self._pairs(best[..., 0], targets) if self.summed else None
        return Assignment(matched, positive, ~positive & (covered > self.ignore), scores, pairs)

    def _pairs(self, prior: Tensor, targets: Targets) -> Pairs:
        """Each object with its prior [B, M]."""
        row = torch.arange(prior.shape[1], device=prior.device).expand_as(prior)
        return Pairs(prior, row, targets.boxes, assignable(targets).float())


def holds_center(priors: Priors, objects: Tensor) -> Tensor:
    """Whether the cell of a prior holds the centre of an object, [B, M, N] bool."""
    return (cells_away(priors, objects) == 0).all(-1)


def cells_away(priors: Priors, objects: Tensor) -> Tensor:
    """Whole cells (x, y) from the centre of an object to a prior on its level, [B, M, N, 2].

    A centre on a border belongs to the cell on its right or below; one on the far border of the
    canvas, or beyond it, to the nearest cell.
    """
    stride = priors.stride[:, None]
    height, width = priors.canvas
    limit = torch.tensor([width, height], device=objects.device)
    own = torch.floor(centers(priors.boxes) / stride)[:, None]  # [1, 1, N, 2]
    inside = centers(objects)[:, :, None].clamp(min=0).minimum(limit - 1e-3)
    return own - torch.floor(inside / stride)
