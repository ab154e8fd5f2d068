"""Loss terms on class logits: what each prior costs, [B, N]."""

from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from detectors.losses import LossTerm
from detectors.ops.boxes import aligned_iou
from detectors.ops.denying import denying, sum_of_denying
from detectors.ranges import Inner, Positive, Share, Weight
from detectors.structures import Matched


def smoothed(matched: Matched, smoothing: float) -> Tensor:
    """Class targets [B, N, C] of logistic classes, those of positives nearer to a half.

    `y (1 - smoothing) + smoothing / 2`: each class is a choice of two (darknet `src/yolo_layer.c`,
    `label_smooth_eps`). Background denies every class as before.
    """
    if not smoothing:
        return matched.target_scores
    added = smoothing / 2 * matched.positive[..., None]
    return matched.target_scores * (1 - smoothing) + added


def smoothed_softmax(matched: Matched, smoothing: float) -> Tensor:
    """Target distributions [B, N, 1 + C] over background and exclusive classes.

    `y (1 - smoothing) + smoothing / (1 + C)` (Szegedy et al. 2016, sec. 7), background included.
    """
    objects = matched.target_scores
    background = (1 - objects.sum(-1, keepdim=True)).clamp(min=0)
    target = torch.cat([background, objects], dim=-1)
    return target * (1 - smoothing) + smoothing / target.shape[-1] if smoothing else target


class BinaryCrossEntropy(LossTerm):
    """Independent logistic classes over all counted priors; over positives only if so asked.

    Args:
        weight: of the whole term.
        background: whether background priors are to deny every class. YOLOv3 leaves that to
            objectness (sec. 2.2), an RPN does not.
        smoothing: see `smoothed`.
    """

    def __init__(
        self, background: bool = True, weight: Positive = 1.0, smoothing: Share = 0.0
    ) -> None:
        super().__init__()
        self.background, self.weight, self.smoothing = background, weight, smoothing

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        loss = F.binary_cross_entropy_with_logits(
            matched.predictions.logits, smoothed(matched, self.smoothing), reduction="none"
        )
        mask = matched.counted if self.background else matched.positive
        return self.weight * loss.sum(-1) * mask


class OverlapCrossEntropy(LossTerm):
    """Independent logistic classes over positives, whose own class learns the IoU of their box.

    YOLOX (released `yolo_head.py`, `get_losses`): cross-entropy with the class target times the IoU
    of the decoded box with its object, a constant for the gradient.

    Args:
        weight: of the whole term.
        smoothing: see `smoothed`; the target is smoothed first.
    """

    def __init__(self, weight: Positive = 1.0, smoothing: Share = 0.0) -> None:
        super().__init__()
        self.weight, self.smoothing = weight, smoothing

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        fit = aligned_iou(matched.boxes, matched.target_boxes).detach()
        target = smoothed(matched, self.smoothing) * fit[..., None]
        logits = matched.predictions.logits
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return self.weight * loss.sum(-1) * matched.positive


class Focal(LossTerm):
    """`-alpha_t (1 - p_t)^gamma log p_t` over all counted priors (RetinaNet, eq. 5).

    Args:
        alpha: weight of the positive class, the negative one has `1 - alpha`.
        gamma: how far easy priors are played down.
        weight: of the whole term.
        smoothing: see `smoothed`; a target y then counts as the mean of both sides, y to 1 - y.
    """

    def __init__(
        self,
        alpha: Inner = 0.25,
        gamma: Weight = 2.0,
        weight: Positive = 1.0,
        smoothing: Share = 0.0,
    ) -> None:
        super().__init__()
        self.alpha, self.gamma, self.weight, self.smoothing = alpha, gamma, weight, smoothing

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        loss = self._soft(matched) if self.smoothing else self._hard(matched)
        return self.weight * loss * matched.counted

    def _hard(self, matched: Matched) -> Tensor:
        """Every class is denied by every prior, but a positive affirms its own instead."""
        logits = matched.predictions.logits
        denied = (1 - self.alpha) * sum_of_denying(logits, self.gamma)
        own = logits.gather(-1, matched.labels[..., None]).squeeze(-1)
        affirmed = self.alpha * denying(-own, self.gamma)
        affirmed = affirmed - (1 - self.alpha) * denying(own, self.gamma)
        return denied + affirmed * matched.positive

    def _soft(self, matched: Matched) -> Tensor:
        """The same for targets between 0 and 1, at twice the cost."""
        logits, target = matched.predictions.logits, smoothed(matched, self.smoothing)
        affirmed = self.alpha * target * denying(-logits, self.gamma)
        denied = (1 - self.alpha) * (1 - target) * denying(logits, self.gamma)
        return (affirmed + denied).sum(-1)


# As `lacking` of coders.
_OF_HEAT = MappingProxyType(
    {
        "smoothing": "its targets are a heat map, which lies between 0 and 1 already: choose "
        "another class loss, such as class_loss=focal, or leave the trick out"
    }
)


class GaussianFocal(LossTerm):
    """Penalty-reduced focal loss on a heat map (CenterNet, eq. 1; CornerNet, eq. 1).

    Where the target Y is one: `-(1 - p)^alpha log p`; elsewhere `-(1 - Y)^beta p^alpha log(1 - p)`.
    Logits are used throughout, where the released code clamps p to [1e-4, 1 - 1e-4]. As there, what
    is divided by is the number of targets that are one: two where objects of two classes share a
    cell.

    Args:
        alpha, beta: exponents.
        weight: of the whole term.
    """

    counts = "peaks"
    lacking = _OF_HEAT

    def __init__(self, alpha: Weight = 2.0, beta: Weight = 4.0, weight: Positive = 1.0) -> None:
        super().__init__()
        self.alpha, self.beta, self.weight = alpha, beta, weight

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        logits, target = matched.predictions.logits, matched.target_scores
        p = logits.sigmoid()
        at_peak = -(1 - p).pow(self.alpha) * F.logsigmoid(logits)
        elsewhere = -(1 - target).pow(self.beta) * p.pow(self.alpha) * F.logsigmoid(-logits)
        loss = torch.where(target == 1, at_peak, elsewhere)
        return self.weight * loss.sum(-1) * matched.counted


class HeatmapFocal(LossTerm):
    """Focal loss on a heat map whose positives are told apart from its peaks (CenterNet2).

    Zhou et al. 2021, "Probabilistic two-stage detection", release `heatmap_focal_loss.py`: of
    positives `-alpha (1 - p)^gamma log p` for their class, of all priors and classes
    `-(1 - alpha) (1 - Y)^beta p^gamma log(1 - p)`, Y the class target. Logits are used throughout,
    where the release clamps p to [1e-4, 1 - 1e-4].

    Args:
        alpha: weight of positives, the rest has `1 - alpha`.
        gamma, beta: exponents.
        trust: the rest costs nothing from this p on, for it may be an object without annotation.
        weight: of the whole term.
    """

    lacking = _OF_HEAT

    def __init__(
        self,
        alpha: Inner = 0.25,
        gamma: Weight = 2.0,
        beta: Weight = 4.0,
        trust: Share = 0.85,
        weight: Positive = 0.5,
    ) -> None:
        super().__init__()
        self.alpha, self.gamma, self.beta = alpha, gamma, beta
        self.trust, self.weight = trust, weight

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        logits, target = matched.predictions.logits, matched.target_scores
        p = logits.sigmoid()
        rest = (1 - target).pow(self.beta) * p.pow(self.gamma) * F.softplus(logits)
        denied = (1 - self.alpha) * (rest * (p < self.trust)).sum(-1)
        own = logits.gather(-1, matched.labels[..., None]).squeeze(-1)
        affirmed = self.alpha * own.neg().sigmoid().pow(self.gamma) * F.softplus(-own)
        return self.weight * (denied + affirmed * matched.positive) * matched.counted


class SoftmaxCrossEntropy(LossTerm):
    """Cross-entropy over background and C classes (Fast R-CNN, sec. 2.3); logits [B, N, 1 + C]."""

    needs_background, score_activation = True, "softmax"

    def __init__(self, weight: Positive = 1.0, smoothing: Share = 0.0) -> None:
        super().__init__()
        self.weight, self.smoothing = weight, smoothing

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        target = smoothed_softmax(matched, self.smoothing)
        loss = -(target * matched.predictions.logits.log_softmax(-1)).sum(-1)
        return self.weight * loss * matched.counted
