"""Loss terms on boxes: on what the network regresses, or on what it decodes to."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.losses.reduction import total
from detectors.ops.boxes import OverlapKind, area, overlap
from detectors.ops.selection import gather_rows
from detectors.structures import Matched


class SmoothL1(nn.Module):
    """Huber's loss over beta on the deltas of positives (Fast R-CNN, eq. 3); beta 0 is plain L1.

    Args:
        beta: where the square turns into a line.
        weights: of the four numbers.
    """

    def __init__(self, beta: float, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> None:
        super().__init__()
        self.beta, self.weights = beta, tuple(weights)

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        deltas = matched.predictions.deltas
        loss = F.smooth_l1_loss(deltas, matched.target_deltas, reduction="none", beta=self.beta)
        weighted = (loss * loss.new_tensor(self.weights)).sum(-1)
        return total(weighted * matched.positive, matched)


class Overlap(nn.Module):
    """One minus the overlap of decoded positives with their objects, each pair of them alone.

    Args:
        kind: "iou", "giou", "diou" or "ciou", see `ops.boxes.overlap`.
        weight: of the whole term.
    """

    def __init__(self, kind: OverlapKind, weight: float = 1.0) -> None:
        super().__init__()
        self.kind, self.weight = kind, weight

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        boxes, objects, weight = _pairs(matched)
        return self.weight * total((1 - overlap(boxes, objects, self.kind)) * weight, matched)


def _pairs(matched: Matched) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted boxes [B, P, 4], those of their objects [B, P, 4], weights [B, P]."""
    if matched.pairs is None:
        return matched.boxes, matched.target_boxes, matched.positive
    prior, objects, weight = matched.pairs
    return gather_rows(matched.boxes, prior), objects, weight


class YoloBox(nn.Module):
    """YOLOv3's: cross-entropy on the sigmoid centre, half a square on the log sides.

    Objects weigh `2 - w h` with sides relative to the canvas, so that small ones count more
    (darknet, src/yolo_layer.c; the gradient "truth minus prediction" of YOLOv3, sec. 2.1).
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """Scalar."""
        deltas, target = matched.predictions.deltas, matched.target_deltas
        center = F.binary_cross_entropy_with_logits(
            deltas[..., :2], target[..., :2].sigmoid(), reduction="none"
        )
        side = (deltas[..., 2:] - target[..., 2:]).square() / 2
        height, width = matched.predictions.priors.canvas
        importance = 2 - area(matched.target_boxes) / (height * width)
        loss = importance * torch.cat([center, side], dim=-1).sum(-1)
        return self.weight * total(loss * matched.positive, matched)
