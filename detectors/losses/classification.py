"""Loss terms on class logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.losses.reduction import total
from detectors.structures import Matched


class BinaryCrossEntropy(nn.Module):
    """Independent logistic classes over all counted priors; over positives only if so asked.

    Args:
        weight: of the whole term.
        background: whether background priors are to deny every class. YOLOv3 leaves that to
            objectness (sec. 2.2), an RPN does not.
    """

    def __init__(self, background: bool, weight: float = 1.0) -> None:
        super().__init__()
        self.background, self.weight = background, weight

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        loss = F.binary_cross_entropy_with_logits(
            matched.predictions.logits, matched.target_scores, reduction="none"
        )
        mask = matched.counted if self.background else matched.positive
        return self.weight * total(loss.sum(-1) * mask, matched)


class Focal(nn.Module):
    """`-alpha_t (1 - p_t)^gamma log p_t` over all counted priors (RetinaNet, eq. 5).

    Args:
        alpha: weight of the positive class, the negative one has `1 - alpha`.
        gamma: how far easy priors are played down.
        weight: of the whole term.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, weight: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.gamma, self.weight = alpha, gamma, weight

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        logits = matched.predictions.logits
        # Every class is denied by every prior, but a positive affirms its own instead.
        denied = (1 - self.alpha) * self._of_denying(logits).sum(-1)
        own = logits.gather(-1, matched.labels[..., None]).squeeze(-1)
        affirmed = self.alpha * self._of_denying(-own) - (1 - self.alpha) * self._of_denying(own)
        loss = denied + affirmed * matched.positive
        return self.weight * total(loss * matched.counted, matched)

    def _of_denying(self, logits: Tensor) -> Tensor:
        """`-(1 - p_t)^gamma log p_t` where the target is zero, so p_t = 1 - p."""
        p = logits.sigmoid().clamp(min=1e-30)  # at 0 a power below 1 has an infinite slope
        return p.pow(self.gamma) * F.softplus(logits)


class GaussianFocal(nn.Module):
    """Penalty-reduced focal loss on a heat map (CenterNet, eq. 1; CornerNet, eq. 1).

    Where the target Y is one: `-(1 - p)^alpha log p`; elsewhere `-(1 - Y)^beta p^alpha log(1 - p)`.
    Logits are used throughout, where the released code clamps p to [1e-4, 1 - 1e-4].

    Args:
        alpha, beta: exponents.
        weight: of the whole term.
    """

    def __init__(self, alpha: float = 2.0, beta: float = 4.0, weight: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.beta, self.weight = alpha, beta, weight

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        logits, target = matched.predictions.logits, matched.target_scores
        p = logits.sigmoid()
        at_peak = -(1 - p).pow(self.alpha) * F.logsigmoid(logits)
        elsewhere = -(1 - target).pow(self.beta) * p.pow(self.alpha) * F.logsigmoid(-logits)
        loss = torch.where(target == 1, at_peak, elsewhere)
        return self.weight * total(loss.sum(-1) * matched.counted, matched)


class SoftmaxCrossEntropy(nn.Module):
    """Cross-entropy over background and C classes (Fast R-CNN, sec. 2.3); logits [B, N, 1 + C]."""

    needs_background = True

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        objects = matched.target_scores
        background = (1 - objects.sum(-1, keepdim=True)).clamp(min=0)
        target = torch.cat([background, objects], dim=-1)
        loss = -(target * matched.predictions.logits.log_softmax(-1)).sum(-1)
        return self.weight * total(loss * matched.counted, matched)
