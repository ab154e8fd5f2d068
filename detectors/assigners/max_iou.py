"""Assignment by the overlap of priors with objects."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.ties import assignable
from detectors.ops.boxes import pairwise_iou
from detectors.ranges import Share
from detectors.structures import Assignment, Predictions, Targets


class MaxIoU(Assigner):
    """Positive from one IoU on, background below another, ignored between (RetinaNet, sec. 4).

    With a `least` it is background in a range alone, which Fast R-CNN takes for hard negatives
    (Girshick 2015, sec. 2.3); an image without objects has none then.

    Args:
        positive: least IoU of a positive prior with its object.
        negative: IoU below which a prior is background.
        forced: also take, for each object, every prior that no other prior beats for it
            (Faster R-CNN, sec. 3.1.2 (i)); as in torchvision such a prior predicts the object *it*
            overlaps most, which need not be the one that forced it. An object that overlaps no
            prior forces none, where torchvision would take them all.
        least: IoU with every object below which a prior is ignored, too.
    """

    def __init__(self, positive: Share, negative: Share, forced: bool, least: Share = 0.0) -> None:
        super().__init__()
        if least > negative:
            raise ValueError(
                f"background from IoU {least} on and below {negative} is none: set least < negative"
            )
        if negative > positive:
            raise ValueError(
                f"background below IoU {negative} and positive from {positive} on overlap: "
                "set negative <= positive"
            )
        self.positive, self.negative, self.forced = positive, negative, forced
        self.least = least

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors."""
        iou = pairwise_iou(targets.boxes, predictions.priors.boxes)  # [B, M, N]
        iou = iou.masked_fill(~assignable(targets)[:, :, None], -1.0)
        best, matched = iou.max(dim=1)
        positive = best >= self.positive
        if self.forced:
            positive = positive | forced_matches(iou)
        background = (best < self.negative) & (best.clamp(min=0) >= self.least)
        ignored = ~positive & ~background
        return Assignment(matched * positive, positive, ignored)


def forced_matches(iou: Tensor) -> Tensor:
    """Priors [B, N] that overlap some object more than, or as much as, all others do.

    Args:
        iou: [B, M, N]; rows of objects that do not count are negative.
    """
    best_of_object = iou.amax(dim=2, keepdim=True)
    return ((iou == best_of_object) & (best_of_object > 0)).any(dim=1)
