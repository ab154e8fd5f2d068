"""Chooses hard examples: priors that cost much now.

`HardNegativeCrossEntropy` is a loss term; the others are minings for any sum of terms.
"""

import torch
from torch import Tensor

from detectors.losses import LossTerm, Mining
from detectors.losses.classification import smoothed_softmax
from detectors.ops.selection import gather_rows
from detectors.ops.suppression import greedy_iou
from detectors.ranges import Count, Positive, Share
from detectors.structures import Matched


class HardNegativeCrossEntropy(LossTerm):
    """Cross-entropy over background and C classes, of positives and the worst background.

    Of each image at most `ratio` background priors count for each positive: those that the network
    takes least for background (SSD, sec. 2.2 "Hard negative mining" and eq. 3). An image without
    an object counts for nothing. Logits are [B, N, 1 + C], background first.

    Args:
        ratio: background priors for each positive.
        weight: of the whole term.
        smoothing: see `smoothed_softmax`.
    """

    needs_background, score_activation = True, "softmax"
    selects = True  # its examples, so nothing else is to

    def __init__(
        self, ratio: Positive = 3.0, weight: Positive = 1.0, smoothing: Share = 0.0
    ) -> None:
        super().__init__()
        self.ratio, self.weight, self.smoothing = ratio, weight, smoothing

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        log_scores = matched.predictions.logits.log_softmax(-1)
        hard = hard_negatives(-log_scores[..., 0].detach(), matched, self.ratio)
        target = smoothed_softmax(matched, self.smoothing)
        return self.weight * -(target * log_scores).sum(-1) * (matched.positive + hard)


def hard_negatives(costs: Tensor, matched: Matched, ratio: float) -> Tensor:
    """The costliest background priors, at most `ratio` for each positive: [B, N] float32 0 or 1."""
    negative = matched.counted * (1 - matched.positive)
    wanted = ratio * matched.positive.sum(1, keepdim=True)
    return (_rank(costs.masked_fill(negative == 0, -torch.inf)) < wanted).float() * negative


def _rank(costs: Tensor) -> Tensor:
    """0 for the costliest prior of an image, and so on."""
    return costs.argsort(1, descending=True).argsort(1)


class HardNegatives(Mining):
    """All positives, and the costliest background priors (SSD, sec. 2.2).

    Args:
        ratio: background priors for each positive.
    """

    def __init__(self, ratio: Positive = 3.0) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, costs: Tensor, matched: Matched) -> Tensor:
        """[B, N] float32 0 or 1."""
        return matched.positive + hard_negatives(costs, matched, self.ratio)


class HardExamples(Mining):
    """The costliest priors of each image, positive or not: OHEM (Shrivastava et al. 2016, sec. 4).

    Priors that overlap costlier ones of the same class, or of background, are left out first, since
    they repeat the same region; the release compares no others (`get_ohem_minibatch`). This is done
    among the `pool` costliest, so fewer than `count` may be left.

    Args:
        count: priors of an image that count; B / N in the paper, 64.
        overlap: IoU of priors' boxes above which the cheaper one is left out.
        pool: priors that are compared.

    Raises:
        ValueError: the pool is smaller than the count.
    """

    def __init__(self, count: Count, overlap: Share, pool: Count) -> None:
        super().__init__()
        if pool < count:
            raise ValueError(f"pool={pool} priors, of which count={count} are to be kept: raise it")
        self.most, self.overlap, self.pool = count, overlap, pool

    def forward(self, costs: Tensor, matched: Matched) -> Tensor:
        """[B, N] float32 0 or 1."""
        costs = costs.masked_fill(matched.counted == 0, -1)
        best, index = costs.topk(min(self.pool, costs.shape[1]), dim=1)
        boxes = matched.predictions.priors.boxes.expand(len(costs), -1, -1)
        classes = torch.where(matched.positive > 0, 1 + matched.labels, 0).gather(1, index)
        apart = greedy_iou(gather_rows(boxes, index), classes, best >= 0, self.overlap)
        kept = apart & (apart.cumsum(1) <= self.most)
        return torch.zeros_like(costs).scatter(1, index, kept.float())
