"""OTA: objects and background share out the priors as an optimal transport."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.atss import depth
from detectors.assigners.costs import focal_costs, of_objects
from detectors.assigners.ties import assignable
from detectors.contracts import check_contract
from detectors.ops.boxes import centers, pairwise_iou
from detectors.ranges import Count, Inner, Positive, Weight
from detectors.scores import Score
from detectors.structures import Assignment, Predictions, Priors, Targets


class OTA(Assigner):
    """Priors by the cheapest transport from objects and background (Ge et al. 2021, "OTA", sec. 3).

    Giving a prior to an object costs the focal loss of its class scores plus `box_weight` times
    minus the logarithm of the IoU of what is predicted, and `outside` more unless the prior's
    centre lies in the object and less than `radius` strides from its centre; giving it to the
    background costs the focal loss of no class. An object supplies as many priors as the sum of its
    `most` best IoUs there says, rounded down, at least one (sec. 3.3); the background supplies the
    others. Sinkhorn's iteration shares out one unit to each prior (`sinkhorn`). Each row of the
    plan is divided by its maximum, and a prior goes to the row of the largest share, as in the
    release. Nothing is ignored. An object without a prior in its surroundings is given priors from
    elsewhere.

    Args:
        score: of classes, of the kind that the detector ranks by; the release looks at the class
            alone.
        radius: of the surroundings along either axis, in strides.
        most: best IoUs that are summed up.
        box_weight: of the IoU in the cost.
        alpha, gamma: of the focal loss.
        smoothness: the weight of the entropy, epsilon; smaller is closer to the exact transport.
        iterations: of Sinkhorn.
    """

    score: Score
    inside = 0.01  # pixels that a centre lies within its object at least; the release's fcos.py
    outside = 1e6

    def __init__(
        self,
        score: Score,
        radius: Positive = 2.5,
        most: Count = 20,
        box_weight: Weight = 1.5,
        alpha: Inner = 0.25,
        gamma: Weight = 2.0,
        smoothness: Positive = 0.1,
        iterations: Count = 50,
    ) -> None:
        super().__init__()
        check_contract(score, Score)
        self.score, self.radius, self.most, self.box_weight = score, radius, most, box_weight
        self.alpha, self.gamma = alpha, gamma
        self.smoothness, self.iterations = smoothness, iterations

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors."""
        around = self._around(predictions.priors, targets.boxes)
        iou = pairwise_iou(targets.boxes, boxes)
        cost, background = self._costs(predictions, iou, targets.labels)
        real = assignable(targets)
        placed = around.any(-1)  # else all of its priors cost as much more, which changes nothing
        cost = cost + self.outside * (placed[..., None] & ~around)
        supply = self._supply(iou * around) * real
        rest = (cost.shape[2] - supply.sum(1, keepdim=True)).clamp(min=0)
        start = 1 - self.outside * (~placed).float()
        shares = sinkhorn(
            torch.cat([cost.masked_fill(~real[..., None], torch.inf), background[:, None]], dim=1),
            torch.cat([supply, rest], dim=1),
            torch.cat([start, torch.ones_like(rest)], dim=1),
            self.smoothness,
            self.iterations,
        )
        matched = (shares - shares.amax(-1, keepdim=True)).nan_to_num(nan=-torch.inf).argmax(1)
        positive = matched < real.shape[1]
        return Assignment(matched * positive, positive, torch.zeros_like(positive))

    def _around(self, priors: Priors, objects: Tensor) -> Tensor:
        """Priors in each object and near its centre, [B, M, N] bool."""
        away = (centers(priors.boxes)[:, None] - centers(objects)[:, :, None]).abs().amax(-1)
        near = away < self.radius * priors.stride
        return near & (depth(priors, objects) > self.inside)

    def _costs(
        self, predictions: Predictions, iou: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of each object [B, M, N] and of background [B, N]."""
        scores = self.score(predictions.logits, predictions.quality)
        affirm, deny = focal_costs(scores, self.alpha, self.gamma)
        least = torch.finfo(torch.float32).eps  # as in the release
        cost = of_objects(affirm, deny, labels) - self.box_weight * iou.clamp(min=least).log()
        return cost, deny.sum(-1)

    def _supply(self, iou: Tensor) -> Tensor:
        """How many priors each object has to give, [B, M], of overlaps [B, M, N]."""
        best = iou.topk(min(self.most, iou.shape[2]), dim=2).values
        return best.sum(2).floor().clamp(min=1)


def sinkhorn(
    cost: Tensor, supply: Tensor, start: Tensor, smoothness: float, iterations: int
) -> Tensor:
    """Logarithm of a transport plan [B, R, N] from R rows to N columns of one unit each.

    Sinkhorn and Knopp's iteration on logarithms (Cuturi 2013, Alg. 1), columns first.

    Args:
        cost: [B, R, N]; inf in all of a row that takes no part, whose plan is -inf.
        supply: [B, R].
        start: [B, R] first potentials of the rows.
        smoothness: the weight of the entropy.
        iterations: of columns and rows.
    """
    tiny = 1e-8  # of the release
    present = cost[..., 0] < torch.inf
    scaled, wanted = cost / smoothness, (supply + tiny).log()
    unit = torch.log(torch.tensor(1 + tiny, device=cost.device))
    rows = torch.where(present, start, 0.0) / smoothness
    columns = torch.full_like(scaled[:, 0], 1 / smoothness)
    for _ in range(iterations):
        columns = unit - (rows[..., None] - scaled).logsumexp(1)
        fresh = wanted - (columns[:, None] - scaled).logsumexp(2)
        rows = torch.where(present, fresh, 0.0)
    return rows[..., None] + columns[:, None] - scaled
