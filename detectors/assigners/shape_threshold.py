"""YOLOv4: every prior of similar shape in the cell that holds the object's centre."""

from collections.abc import Sequence

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.best_shape import BestShape, holds_center
from detectors.assigners.ties import assignable, last, multi_hot
from detectors.ops.boxes import pairwise_iou, pairwise_shape_iou, sides
from detectors.ops.selection import gather_rows
from detectors.ranges import Count, Share, Weight
from detectors.structures import Assignment, Pairs, Predictions, Priors, Targets


class ShapeThreshold(Assigner):
    """The prior of best shape, and all others whose shape is similar, on every level.

    darknet's yolo layer with `iou_thresh` (`src/yolo_layer.c`; YOLOv4, sec. 3.4 "multiple anchors
    for a single ground truth"). Only the cell of the centre is looked at, once per level. A prior
    that several objects want gets all of their classes, and as in darknet it is drawn to each of
    their boxes: where the threshold is below 1 with a weight of one over the number of its classes,
    else in full (`averages_yolo_deltas`). With label smoothing darknet divides by the number of
    classes whose delta is positive, which are nearly all; here by those of the objects. Losses that
    do not look at `pairs` see the last object's box.

    Args:
        threshold: least IoU, exclusive, of the shapes on a common centre; 1 leaves only the best.
        ignore: a background prior whose decoded box overlaps any object by more is ignored,
        gate: provided that one of its class scores is higher than this.
        unused: (width, height) of shapes that take part in the choice of the best, though no level
            has them: where one wins, there is no best prior. YOLOv4-tiny's masks leave one out.
        most: priors that an object may train, those of most similar shape; YOLOv4's cells have
            nine on all levels together.
    """

    own_classes = True

    def __init__(
        self,
        threshold: Share,
        ignore: Share,
        gate: Weight,
        unused: Sequence[tuple[float, float]] = (),
        most: Count = 9,
    ) -> None:
        super().__init__()
        self.threshold, self.ignore, self.gate = threshold, ignore, gate
        self.unused, self.most = list(unused), most

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors, with multi-hot class targets and pairs."""
        priors, real = predictions.priors, assignable(targets)[:, :, None]
        shape = pairwise_shape_iou(sides(targets.boxes), sides(priors.boxes))
        home = holds_center(priors, targets.boxes) & real
        shape = shape.masked_fill(~home, -1.0)
        similar = (shape > self.threshold) | self._best(shape, priors, targets)
        value, prior = torch.where(similar & home, shape, -1.0).topk(
            min(self.most, shape.shape[2]), dim=2
        )
        assigned = torch.zeros_like(home).scatter(2, prior, value >= 0)
        matched, positive = last(assigned)
        covered = pairwise_iou(targets.boxes, boxes).masked_fill(~real, 0.0).amax(1)
        sure = predictions.logits.sigmoid().amax(-1) > self.gate
        scores = multi_hot(assigned, targets.labels, predictions.logits.shape[-1])
        return Assignment(
            matched,
            positive,
            ~positive & sure & (covered > self.ignore),
            scores,
            self._pairs(value, prior, scores, targets),
        )

    def _best(self, shape: Tensor, priors: Priors, targets: Targets) -> Tensor:
        """Priors of the one best shape, [B, M, N] bool; the same shape may stand on two levels."""
        best, index = shape.max(dim=2)
        winner = gather_rows(sides(priors.boxes), index)[:, :, None]
        same = ((sides(priors.boxes)[:, None] - winner).abs() < 1e-2).all(-1)  # pixels
        if not self.unused:
            return same
        rivals = torch.tensor(self.unused, dtype=torch.float32, device=shape.device)[None]
        rival = pairwise_shape_iou(sides(targets.boxes), rivals).amax(2)
        return same & (best > rival)[:, :, None]

    def _pairs(self, value: Tensor, prior: Tensor, scores: Tensor, targets: Targets) -> Pairs:
        """Of each object with its priors [B, M, k], none where `value` is negative."""
        boxes = targets.boxes[:, :, None].expand(*prior.shape, 4)
        row = torch.arange(prior.shape[1], device=prior.device)[:, None].expand_as(prior)
        prior, weight = prior.flatten(1), (value.flatten(1) >= 0).float()
        if self.threshold < 1:
            weight = weight / scores.sum(-1).clamp(min=1).gather(1, prior)
        return Pairs(prior, row.flatten(1), boxes.flatten(1, 2), weight)


def several(assigner: Assigner, threshold: Share) -> ShapeThreshold:
    """An assigner that gives an object several priors, made of one that chooses the best shape.

    It ignores the same priors.

    Args:
        assigner: a `BestShape`, or a `ShapeThreshold` of threshold 1.
        threshold: see `ShapeThreshold`.

    Raises:
        ValueError: the assigner gives an object several priors already, or does not go by shapes.
    """
    if isinstance(assigner, BestShape):
        return ShapeThreshold(threshold, assigner.ignore, gate=0.0)
    if isinstance(assigner, ShapeThreshold) and assigner.threshold >= 1:
        return ShapeThreshold(
            threshold, assigner.ignore, assigner.gate, assigner.unused, assigner.most
        )
    raise ValueError(
        f"several priors for an object by their shapes: {type(assigner).__name__} does not choose "
        "one best shape, so it has them already, or goes by something else; leave it, or choose "
        "assigner=best_shape"
    )
