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
from detectors.structures import Assignment, Predictions, Targets


class SimOTA(Assigner):
    """The cheapest priors around an object's centre (Ge et al. 2021, "YOLOX", sec. 2 "SimOTA").

    The cost of a pair is the cross-entropy of all class scores plus `box_weight` times minus the
    logarithm of the IoU of what is predicted. An object takes as many priors as the sum of its
    `most` best IoUs says, rounded down, at least one. A prior that several take stays with the one
    it costs least. Nothing is ignored.

    Only priors around the centre of the very object are looked at, as in the report. The release
    counts IoUs over the surroundings of all objects of the image, and lets an object have priors
    from there at a cost of 1e6.

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
        priors = predictions.priors
        middle = centers(targets.boxes)[:, :, None]
        away = (centers(priors.boxes)[:, None] - middle).abs().amax(-1)  # [B, M, N]
        around = (away < self.radius * priors.stride) & assignable(targets)[:, :, None]
        iou = pairwise_iou(targets.boxes, boxes) * around
        cost = class_cost(self.score(predictions.logits, predictions.quality), targets.labels)
        cost = cost - self.box_weight * (iou + 1e-8).log()
        taken = self._cheapest(cost.masked_fill(~around, torch.inf), iou)
        matched, positive = highest(taken, -cost)
        return Assignment(matched, positive, torch.zeros_like(positive))

    def _cheapest(self, cost: Tensor, iou: Tensor) -> Tensor:
        """The priors that each object takes, [B, M, N] bool; an infinite cost is never taken."""
        most = min(self.most, cost.shape[2])
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
