"""Loss terms on the quality logit of a prior, and a weight by centre-ness, [B, N]."""

import torch.nn.functional as F
from torch import Tensor

from detectors.losses import LossTerm, LossWeight
from detectors.losses.reduction import over_mean
from detectors.ops.boxes import aligned_iou, centers
from detectors.ranges import Positive
from detectors.structures import Matched


class Objectness(LossTerm):
    """Cross-entropy: one for positives, zero for background (YOLOv3, sec. 2.1)."""

    needs_quality = True

    def __init__(self, weight: Positive = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        return self.weight * _cross_entropy(matched, matched.positive) * matched.counted


class IoUObjectness(LossTerm):
    """Cross-entropy: the IoU of its box with its object for a positive, zero for background.

    The IoU is a constant for the gradient (YOLOv1, sec. 2). darknet's `objectness_smooth` is
    another rule: a prior with an object learns its best IoU with any object where that is above
    `ignore_thresh`, else 0 (AlexeyAB, `src/yolo_layer.c`).
    """

    needs_quality = True

    def __init__(self, weight: Positive = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        target = aligned_iou(matched.boxes, matched.target_boxes).detach() * matched.positive
        return self.weight * _cross_entropy(matched, target) * matched.counted


class IoUQuality(LossTerm):
    """Cross-entropy with the IoU of its box with its object, for positives alone (PAA, sec. 3.2).

    The IoU is a constant for the gradient.
    """

    needs_quality = True

    def __init__(self, weight: Positive = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        target = aligned_iou(matched.boxes, matched.target_boxes).detach()
        return self.weight * _cross_entropy(matched, target) * matched.positive


def _cross_entropy(matched: Matched, target: Tensor) -> Tensor:
    """Of the quality logit with a target in [0, 1], both [B, N]."""
    quality = matched.predictions.quality
    assert quality is not None
    return F.binary_cross_entropy_with_logits(quality, target, reduction="none")


class CenternessWeight(LossWeight):
    """Weights the box of a positive by how central its point lies, relative to the mean of all.

    The official FCOS weights GIoU so and divides by the sum of the weights, over all devices
    (`fcos_core/modeling/rpn/fcos/loss.py`); torchvision's, as ours by default, weights all alike. A
    weight of a `Criterion` that divides by positives.
    """

    def forward(self, matched: Matched) -> Tensor:
        """[B, N], mean one over positives."""
        central = centerness(centers(matched.predictions.priors.boxes), matched.target_boxes)
        return over_mean(central, matched.positive, least=1e-6)


class IoUWeight(LossWeight):
    """Weights the box of a positive by its IoU with the object, relative to the mean of all.

    PAA's release weights GIoU so and divides by the sum of the weights, over all devices
    (`paa_core/modeling/rpn/paa/loss.py`). A weight of a `Criterion` that divides by positives.
    """

    def forward(self, matched: Matched) -> Tensor:
        """[B, N], a constant for the gradient; mean one over positives."""
        fit = aligned_iou(matched.boxes, matched.target_boxes).detach()
        return over_mean(fit, matched.positive, least=1e-6)


class Centerness(LossTerm):
    """Cross-entropy with how central a positive point lies in its object (FCOS, eq. 3)."""

    needs_quality = True

    def __init__(self, weight: Positive = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        target = centerness(centers(matched.predictions.priors.boxes), matched.target_boxes)
        return self.weight * _cross_entropy(matched, target) * matched.positive


def centerness(points: Tensor, boxes: Tensor) -> Tensor:
    """`sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))` of points [..., 2] in boxes [..., 4].

    0 for points outside and for empty boxes.
    """
    before = (points - boxes[..., :2]).clamp(min=0)
    after = (boxes[..., 2:] - points).clamp(min=0)
    return (before.minimum(after) / before.maximum(after).clamp(min=1e-9)).prod(-1).sqrt()
