"""SimOTA: an object takes as many priors as predict it well, the cheapest ones."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.ties import assignable, highest
from detectors.contracts import check_contract
from detectors.ops.boxes import centers, pairwise_iou
from detectors.ops.selection import gather_rows
from detectors.ranges import Count, Positive, Weight
from detectors.scores import Score
from detectors.structures import Assignment, Predictions, Priors, Targets


class SimOTA(Assigner):
    """The cheapest priors around an object's centre (Ge et al. 2021, "YOLOX", sec. 2 "SimOTA").

    The cost of a pair is the cross-entropy of all class scores plus `box_weight` times minus the
    logarithm of the IoU of what is predicted. An object takes as many priors as the sum of its
    `most` best IoUs says, rounded down, at least one. A prior that several take stays with the one
    it costs least. Nothing is ignored.

    Only priors around the centre of the very object are looked at, as in the report; the release
    does otherwise, see `SharedSimOTA`.

    Args:
        score: of classes, as the detector ranks by it; YOLOX takes the root of class times
            objectness, which is score=root.
        radius: of the surroundings along either axis, in strides.
        most: best IoUs that are summed up.
        box_weight: of the IoU in the cost.
    """

    score: Score

    def __init__(
        self, score: Score, radius: Positive = 1.5, most: Count = 10, box_weight: Weight = 3.0
    ) -> None:
        super().__init__()
        check_contract(score, Score)
        self.score, self.radius = score, radius
        self.most, self.box_weight = most, box_weight

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors."""
        around = surroundings(predictions.priors, targets, self.radius)
        iou = pairwise_iou(targets.boxes, boxes) * around
        cost = class_cost(self.score(predictions.logits, predictions.quality), targets.labels)
        cost = cost - self.box_weight * (iou + 1e-8).log()
        taken = cheapest(cost.masked_fill(~around, torch.inf), iou, self.most)
        matched, positive = highest(taken, -cost)
        return Assignment(matched, positive, torch.zeros_like(positive))


class SharedSimOTA(Assigner):
    """SimOTA over the surroundings of all objects of the image, as YOLOX's release has it.

    `yolo_head.py`, `get_geometry_constraint` and `simota_matching`. It differs from `SimOTA` in
    four ways. The cross-entropy is that of a power of the scores: YOLOX ranks by class times
    objectness and assigns by its root. An object counts its best IoUs over the priors around any
    object. It may take priors around another one, at an additional cost of `outside`. And a prior
    that several take goes to the object of the image that it costs least, even to one that did not
    take it.

    Version 0.3.0 drew the surroundings otherwise: inside of the box or at most 2.5 strides off its
    centre, `outside` for those that are not both, 1e5.

    Args:
        score, radius, most, box_weight: as `SimOTA`.
        power: of the scores.
        outside: added to the cost of a prior that is not around the object itself.
    """

    score: Score

    def __init__(
        self,
        score: Score,
        radius: Positive = 1.5,
        most: Count = 10,
        box_weight: Weight = 3.0,
        power: Positive = 0.5,
        outside: Weight = 1e6,
    ) -> None:
        super().__init__()
        check_contract(score, Score)
        self.score, self.radius = score, radius
        self.most, self.box_weight = most, box_weight
        self.power, self.outside = power, outside

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors."""
        around = surroundings(predictions.priors, targets, self.radius)
        candidate = around.any(1, keepdim=True) & assignable(targets)[:, :, None]  # [B, M, N]
        iou = pairwise_iou(targets.boxes, boxes) * candidate
        scores = self.score(predictions.logits, predictions.quality).pow(self.power)
        cost = class_cost(scores, targets.labels)
        cost = cost - self.box_weight * (iou + 1e-8).log() + self.outside * ~around
        cost = cost.masked_fill(~candidate, torch.inf)
        taken = cheapest(cost, iou, self.most)
        disputed = taken.sum(1, keepdim=True) > 1
        matched, positive = highest(taken | (disputed & candidate), -cost)
        return Assignment(matched, positive, torch.zeros_like(positive))


def surroundings(priors: Priors, targets: Targets, radius: float) -> Tensor:
    """Which priors are around which object to be assigned, [B, M, N] bool.

    Args:
        radius: strides along either axis; a prior exactly as far away is outside.
    """
    middle = centers(targets.boxes)[:, :, None]
    away = (centers(priors.boxes)[:, None] - middle).abs().amax(-1)
    return (away < radius * priors.stride) & assignable(targets)[:, :, None]


def cheapest(cost: Tensor, iou: Tensor, most: int) -> Tensor:
    """The priors that each object takes, [B, M, N] bool; an infinite cost is never taken.

    Args:
        cost, iou: [B, M, N].
        most: best IoUs of an object whose sum, rounded down, is how many it takes.
    """
    most = min(most, cost.shape[2])
    wanted = iou.topk(most, dim=2).values.sum(2, keepdim=True).floor().clamp(min=1)
    lowest, index = cost.topk(most, dim=2, largest=False)
    rank = torch.arange(most, device=cost.device)
    chosen = (rank < wanted) & (lowest < torch.inf)
    return torch.zeros_like(cost, dtype=torch.bool).scatter(2, index, chosen)


def class_cost(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of all class scores [B, N, C] with one class [B, M], summed, as [B, M, N].

    A logarithm is at least -100, as torch's `binary_cross_entropy` has it.
    """
    affirm, deny = (-p.log().clamp(min=-100) for p in (scores, 1 - scores))
    return deny.sum(-1)[:, None] + gather_rows((affirm - deny).transpose(1, 2), labels)
