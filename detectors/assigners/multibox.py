"""SSD: the best prior of every object, and every prior that overlaps one well."""

from collections.abc import Callable

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.ties import assignable, last
from detectors.ops.boxes import pairwise_iou
from detectors.ranges import Share
from detectors.structures import Assignment, Predictions, Targets

Owner = Callable[[Tensor], tuple[Tensor, Tensor]]  # as `ties.last`


class Bipartite(Assigner):
    """Pairs objects with priors one to one, then gives the other priors what they overlap.

    SSD, sec. 2.2 "Matching strategy"; rounds as in the released `bbox_util.cpp`: the pair of
    greatest overlap of all is made and both leave, until every object has its prior. Then each
    prior that is left takes the object it overlaps most, if by `threshold`. Nothing is ignored.
    """

    least = 1e-6  # overlap without which the release makes no pair

    def __init__(self, threshold: Share) -> None:
        super().__init__()
        self.threshold = threshold

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors."""
        iou = _overlaps(predictions, targets)
        paired, has_pair = self._pairs(iou)
        best, matched = iou.max(dim=1)
        positive = has_pair | (best >= self.threshold)
        matched = torch.where(has_pair, paired, matched)
        return Assignment(matched * positive, positive, torch.zeros_like(positive))

    def _pairs(self, iou: Tensor) -> tuple[Tensor, Tensor]:
        """Object [B, N] and whether there is one, [B, N] bool, from overlaps [B, M, N]."""
        objects, priors = iou.shape[1:]
        left = iou.transpose(1, 2)  # the release looks at priors first, objects second
        matched = torch.zeros_like(iou[:, 0], dtype=torch.int64)
        positive = torch.zeros_like(matched, dtype=torch.bool)
        prior_index = torch.arange(priors, device=iou.device)
        object_index = torch.arange(objects, device=iou.device)
        for _ in range(objects):
            overlap, pair = left.flatten(1).max(dim=1)
            made = (overlap > self.least)[:, None]
            on_prior = prior_index == (pair // objects)[:, None]
            on_object = object_index == (pair % objects)[:, None]
            matched = torch.where(on_prior & made, (pair % objects)[:, None], matched)
            positive = positive | (on_prior & made)
            left = left.masked_fill(on_prior[:, :, None] | on_object[:, None], -1.0)
        return matched, positive


class BestPrior(Assigner):
    """Every prior takes what it overlaps by `threshold`; each object its best prior at any rate.

    Of two objects with one best prior one has it, and the other may end without any. An object that
    overlaps no prior takes the first of all, as in both releases.

    Args:
        threshold: least IoU by which a prior takes an object that is not its own.
        owner: which of the two; `ties.last` in torchvision's SSDMatcher, `ties.first` in
            EfficientDet's release (`object_detection/argmax_matcher.py`).
    """

    def __init__(self, threshold: Share, owner: Owner = last) -> None:
        super().__init__()
        self.threshold, self.owner = threshold, owner

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors."""
        iou = _overlaps(predictions, targets)
        best, matched = iou.max(dim=1)
        favourite = iou.argmax(dim=2, keepdim=True)
        taken = torch.zeros_like(iou, dtype=torch.bool)
        taken = taken.scatter(2, favourite, assignable(targets)[:, :, None])
        owner, forced = self.owner(taken)
        positive = forced | (best >= self.threshold)
        matched = torch.where(forced, owner, matched)
        return Assignment(matched * positive, positive, torch.zeros_like(positive))


def _overlaps(predictions: Predictions, targets: Targets) -> Tensor:
    """IoU [B, M, N] of objects with priors; -1 for rows that are not to be assigned."""
    iou = pairwise_iou(targets.boxes, predictions.priors.boxes)
    return iou.masked_fill(~assignable(targets)[:, :, None], -1.0)
