"""Loss terms of YOLOv1 and v2: squared errors of each prior, [B, N].

Each is half of a weighted square, whose gradient is darknet's `weight * (truth - output)`. So
YOLOv1's terms are half of those in the equation of its paper (sec. 2.2, eq. 3), and have the
gradients that its learning rates were found with.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.progress import Timed
from detectors.losses import LossTerm
from detectors.losses.box import of_priors, paired, paired_deltas
from detectors.ops.boxes import aligned_iou
from detectors.ranges import Positive, Share, Weight, Whole
from detectors.structures import Matched, Progress


class SquaredClass(LossTerm):
    """On the linear class scores of cells with an object (YOLOv1, eq. 3, last line).

    One prior of such a cell is positive, so its cell counts once.

    Args:
        weight: of the whole term.
        smoothing: the target is `y (1 - smoothing) + smoothing / C` (Szegedy et al. 2016, sec. 7).
    """

    score_activation = "linear"

    def __init__(self, weight: Positive = 1.0, smoothing: Share = 0.0) -> None:
        super().__init__()
        self.weight, self.smoothing = weight, smoothing

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        scores = matched.target_scores
        target = scores * (1 - self.smoothing) + self.smoothing / scores.shape[-1]
        error = (target - matched.predictions.logits).square().sum(-1)
        return self.weight / 2 * error * matched.positive


class SquaredBox(LossTerm):
    """On the four numbers as they are predicted (YOLOv1, eq. 3, first two lines)."""

    deltas, counts = "box", "objects"

    def __init__(self, weight: Positive = 5.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        target, weight = paired_deltas(matched)
        error = (target - paired(matched.predictions.deltas, matched)).square().sum(-1)
        return self.weight / 2 * of_priors(error * weight, matched)


class SquaredObjectness(LossTerm):
    """Objects are to say how well their box fits, background zero.

    The target of a positive is the IoU of its box with its object, a constant for the gradient
    (YOLOv1, sec. 2; darknet `rescore=1`).

    Args:
        activation: what makes an objectness of the logit: identity in YOLOv1, sigmoid in v2.
        positive: weight of priors with an object.
        background: weight of the others, but for ignored ones.
    """

    needs_quality = True

    def __init__(self, activation: nn.Module, positive: Positive, background: Weight) -> None:
        super().__init__()
        self.activation, self.positive, self.background = activation, positive, background
        self.score_activation = "linear" if isinstance(activation, nn.Identity) else "logistic"

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        quality = matched.predictions.quality
        assert quality is not None
        fit = aligned_iou(matched.boxes, matched.target_boxes).detach()
        error = (fit * matched.positive - self.activation(quality)).square()
        background = self.background * (matched.counted - matched.positive)
        weight = self.positive * matched.positive + background
        return weight * error / 2


class YoloV2Box(Timed, LossTerm):
    """YOLOv2's: on the sigmoid of the centre and on the log sides, all objects alike.

    While training begins, priors without an object are drawn to their own shape in the middle of
    their cell, that is to what an unmatched prior has for a target anyway (darknet
    `src/region_layer.c`).

    Args:
        weight: of objects.
        prior_weight: of priors without an object, ignored ones among them.
        prior_images: how many images it lasts.
    """

    deltas, counts = "box", "objects"
    early: Tensor

    def __init__(
        self, weight: Positive = 1.0, prior_weight: Weight = 0.01, prior_images: Whole = 12800
    ) -> None:
        super().__init__()
        self.weight, self.prior_weight, self.prior_images = weight, prior_weight, prior_images
        self.register_buffer("early", torch.ones(()), persistent=False)  # 1 while it lasts, then 0

    def begin(self, progress: Progress) -> None:
        self.early.fill_(float(progress.images_seen < self.prior_images))

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        self.require_progress()
        deltas, (target, weight) = matched.predictions.deltas, paired_deltas(matched)
        objects = of_priors(_error(paired(deltas, matched), target) * weight, matched)
        shapes = _error(deltas, matched.target_deltas) * (1 - matched.positive)
        return (self.weight * objects + self.prior_weight * self.early * shapes) / 2


def _error(deltas: Tensor, target: Tensor) -> Tensor:
    """The square of raw (tx, ty, tw, th) [..., 4] off their target, centres by their sigmoids."""
    center = target[..., :2].sigmoid() - deltas[..., :2].sigmoid()
    return torch.cat([center, target[..., 2:] - deltas[..., 2:]], dim=-1).square().sum(-1)


class SoftmaxClass(LossTerm):
    """Cross-entropy over C exclusive classes, positives only (YOLOv2).

    Where several objects want one prior, the one that keeps the box gives the class.

    Args:
        weight: of the whole term.
        smoothing: as in `SquaredClass`.
    """

    score_activation = "softmax"

    def __init__(self, weight: Positive = 1.0, smoothing: Share = 0.0) -> None:
        super().__init__()
        self.weight, self.smoothing = weight, smoothing

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        logits = matched.predictions.logits.transpose(1, 2)
        loss = F.cross_entropy(
            logits, matched.labels, reduction="none", label_smoothing=self.smoothing
        )
        return self.weight * loss * matched.positive
