"""Generalized focal loss (Li et al. 2020, "Generalized Focal Loss", sec. 3): terms and a weight."""

import torch.nn.functional as F
from torch import Tensor

from detectors.losses import LossTerm, LossWeight
from detectors.losses.reduction import over_mean
from detectors.ops.boxes import aligned_iou
from detectors.ranges import Positive, Weight
from detectors.structures import Matched


class QualityFocal(LossTerm):
    """`-|y - p|^beta ((1 - y) log(1 - p) + y log p)` over all counted priors (QFL, eq. 2).

    y is the IoU of a positive's box with its object for the object's class, a constant for the
    gradient, and zero for all others. So the class score tells how well the box fits, too.

    Args:
        beta: how far priors that are nearly right are played down.
        weight: of the whole term.
    """

    def __init__(self, beta: Weight = 2.0, weight: Positive = 1.0) -> None:
        super().__init__()
        self.beta, self.weight = beta, weight

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        logits = matched.predictions.logits
        fit = aligned_iou(matched.boxes, matched.target_boxes).detach()
        target = matched.target_scores * fit[..., None]
        apart = (target - logits.sigmoid()).abs().clamp(min=1e-30)  # its power has a slope at 0
        costs = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return self.weight * (apart.pow(self.beta) * costs).sum(-1) * matched.counted


class DistributionFocal(LossTerm):
    """Cross-entropy of the two places next to each side's distance (DFL, eq. 6), sides' mean.

    For `coders.DistanceDistribution`: `-((i + 1 - t) log p_i + (t - i) log p_(i+1))` with t in
    strides between the places i and i + 1, cut to [0, last place - 0.1] as in the release.

    Args:
        weight: of the whole term.
    """

    deltas = "distribution"

    def __init__(self, weight: Positive = 0.25) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        scores = matched.predictions.deltas.unflatten(-1, (4, -1)).log_softmax(-1)
        target = matched.target_deltas.clamp(0, scores.shape[-1] - 1.1)
        below = target.long()
        near, far = (scores.gather(-1, (below + i)[..., None]).squeeze(-1) for i in (0, 1))
        share = target - below
        costs = -((1 - share) * near + share * far)
        return self.weight * costs.mean(-1) * matched.positive


class ClassScore(LossWeight):
    """Weights the box of a positive by its best class score, relative to the mean of all.

    A weight of a `Criterion` that divides by positives: the sum is then divided by that of the
    scores, over all devices and at least one, as in the release.
    """

    def forward(self, matched: Matched) -> Tensor:
        """[B, N], a constant for the gradient; mean one over positives unless scores are low."""
        score = matched.predictions.logits.detach().sigmoid().amax(-1)
        return over_mean(score, matched.positive, least=1.0)
