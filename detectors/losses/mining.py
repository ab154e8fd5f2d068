"""Loss terms that choose the background they look at."""

import torch
from torch import Tensor, nn

from detectors.losses.reduction import total
from detectors.structures import Matched


class HardNegativeCrossEntropy(nn.Module):
    """Cross-entropy over background and C classes, of positives and the worst background.

    Of each image at most `ratio` background priors count for each positive: those that the network
    takes least for background (SSD, sec. 2.2 "Hard negative mining" and eq. 3). An image without
    an object counts for nothing. Logits are [B, N, 1 + C], background first.
    """

    needs_background = True

    def __init__(self, ratio: float = 3.0, weight: float = 1.0) -> None:
        super().__init__()
        self.ratio, self.weight = ratio, weight

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        log_scores = matched.predictions.logits.log_softmax(-1)
        background = -log_scores[..., 0]
        of_class = -(matched.target_scores * log_scores[..., 1:]).sum(-1)
        hard = self._hard(background.detach(), matched)
        return self.weight * total(of_class * matched.positive + background * hard, matched)

    def _hard(self, background: Tensor, matched: Matched) -> Tensor:
        """The background priors that count, [B, N] float32 0 or 1."""
        negative = matched.counted * (1 - matched.positive)
        worst_first = background.masked_fill(negative == 0, -torch.inf).argsort(1, descending=True)
        rank = worst_first.argsort(1)
        wanted = self.ratio * matched.positive.sum(1, keepdim=True)
        return (rank < wanted).float() * negative
