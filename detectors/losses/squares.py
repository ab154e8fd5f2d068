"""Loss terms of YOLOv1 and v2: squared errors.

Each is half of a weighted square, whose gradient is darknet's `weight * (truth - output)`. So
YOLOv1's terms are half of those in the equation of its paper (sec. 2.2, eq. 3), and have the
gradients that its learning rates were found with.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.progress import ImagesSeen
from detectors.losses.reduction import total
from detectors.ops.boxes import overlap
from detectors.structures import Matched


class SquaredClass(nn.Module):
    """On the linear class scores of cells with an object (YOLOv1, eq. 3, last line).

    One prior of such a cell is positive, so its cell counts once.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        error = (matched.target_scores - matched.predictions.logits).square().sum(-1)
        return self.weight / 2 * total(error * matched.positive, matched)


class SquaredBox(nn.Module):
    """On the four numbers as they are predicted (YOLOv1, eq. 3, first two lines)."""

    def __init__(self, weight: float = 5.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        error = (matched.target_deltas - matched.predictions.deltas).square().sum(-1)
        return self.weight / 2 * total(error * matched.positive, matched)


class SquaredObjectness(nn.Module):
    """Objects are to say how well their box fits, background zero.

    The target of a positive is the IoU of its box with its object, a constant for the gradient
    (YOLOv1, sec. 2; darknet `rescore=1`).

    Args:
        activation: what makes an objectness of the logit: identity in YOLOv1, sigmoid in v2.
        positive: weight of priors with an object.
        background: weight of the others, but for ignored ones.
    """

    needs_quality = True

    def __init__(self, activation: nn.Module, positive: float, background: float) -> None:
        super().__init__()
        self.activation, self.positive, self.background = activation, positive, background

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        quality = matched.predictions.quality
        assert quality is not None
        fit = overlap(matched.boxes, matched.target_boxes).detach()
        error = (fit * matched.positive - self.activation(quality)).square()
        background = self.background * (matched.counted - matched.positive)
        weight = self.positive * matched.positive + background
        return total(weight * error, matched) / 2


class YoloV2Box(nn.Module):
    """YOLOv2's: on the sigmoid of the centre and on the log sides, all objects alike.

    While training begins, priors without an object are drawn to their own shape in the middle of
    their cell, that is to what an unmatched prior has for a target anyway (darknet
    `src/region_layer.c`).

    Args:
        weight: of objects.
        prior_weight: of priors without an object, ignored ones among them.
        prior_images: how many images it lasts.
    """

    def __init__(
        self, weight: float = 1.0, prior_weight: float = 0.01, prior_images: int = 12800
    ) -> None:
        super().__init__()
        self.weight, self.prior_weight, self.prior_images = weight, prior_weight, prior_images
        self.seen = ImagesSeen()

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        deltas, target = matched.predictions.deltas, matched.target_deltas
        center = target[..., :2].sigmoid() - deltas[..., :2].sigmoid()
        error = torch.cat([center, target[..., 2:] - deltas[..., 2:]], dim=-1).square().sum(-1)
        prior_weight = self.prior_weight * self.seen.before(self.prior_images)
        weight = torch.where(matched.positive > 0, self.weight, prior_weight)
        return total(weight * error, matched) / 2


class SoftmaxClass(nn.Module):
    """Cross-entropy over C exclusive classes, positives only (YOLOv2).

    Where several objects want one prior, the one that keeps the box gives the class.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        logits = matched.predictions.logits.transpose(1, 2)
        loss = F.cross_entropy(logits, matched.labels, reduction="none")
        return self.weight * total(loss * matched.positive, matched)
