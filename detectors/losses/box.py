"""Loss terms on boxes: on what the network regresses, or on what it decodes to; [B, N]."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from detectors.losses import LossTerm
from detectors.ops.boxes import IoUKind, aligned_iou, area
from detectors.ops.selection import gather_rows
from detectors.ranges import Positive, Weight
from detectors.structures import Matched

LARGEST = 20.0  # of an exponent; a factor of 5e8 is as good as any


class SmoothL1(LossTerm):
    """Huber's loss over beta on the deltas of positives (Fast R-CNN, eq. 3); beta 0 is plain L1.

    Args:
        beta: where the square turns into a line.
        weights: of the four numbers of a box, or of the two of a point.

    Raises:
        ValueError: there are as many weights of neither.
    """

    counts = "objects"

    def __init__(self, beta: Weight, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> None:
        super().__init__()
        if len(weights) not in (2, 4):
            raise ValueError(
                f"found {len(weights)} weights {list(weights)}, expected four for the numbers of a "
                "box, or two for those of a point: give as many"
            )
        self.beta, self.weights = beta, tuple(weights)
        self.deltas = "box" if len(weights) == 4 else "point"

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        deltas = paired(matched.predictions.deltas, matched)
        target, weight = paired_deltas(matched)
        loss = F.smooth_l1_loss(deltas, target, reduction="none", beta=self.beta)
        costs = (loss * loss.new_tensor(self.weights)).sum(-1)
        return of_priors(costs * weight, matched)


class IoULoss(LossTerm):
    """One minus the overlap of decoded positives with their objects, each pair of them alone.

    Args:
        kind: "iou", "giou", "diou", "ciou" or "eiou", see `ops.boxes.aligned_iou`.
        weight: of the whole term.
        power: of the overlap, for "iou" only (alpha-IoU, He et al. 2021, eq. 3); YOLOX squares it.

    Raises:
        ValueError: there is a power beside another kind, which may be negative.
    """

    counts = "objects"

    def __init__(self, kind: IoUKind, weight: Positive = 1.0, power: Positive = 1.0) -> None:
        super().__init__()
        if power != 1 and kind != "iou":
            raise ValueError(
                f"power {power} of {kind!r}, which may be negative: choose kind=iou, or power=1"
            )
        self.kind, self.weight, self.power = kind, weight, power

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        objects, weight = paired_objects(matched)
        overlap = aligned_iou(paired(matched.boxes, matched), objects, self.kind)
        loss = 1 - (overlap if self.power == 1 else overlap.pow(self.power))
        return self.weight * of_priors(loss * weight, matched)


class LogIoU(LossTerm):
    """Minus the logarithm of the IoU of decoded positives with their objects (UnitBox, Alg. 1).

    Yu et al. 2016. An overlap counts as `least` at least, so that boxes that do not meet cost a
    finite number; they teach nothing then, as by the IoU itself.

    Args:
        weight: of the whole term.
    """

    counts = "objects"
    least = 1e-6

    def __init__(self, weight: Positive = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        objects, weight = paired_objects(matched)
        overlap = aligned_iou(paired(matched.boxes, matched), objects)
        loss = -overlap.clamp(self.least, 1.0).log()
        return self.weight * of_priors(loss * weight, matched)


class GaussianKL(LossTerm):
    """`exp(-alpha) smooth L1(x - t) + alpha / 2` for each side, alpha its `log(sigma^2)`.

    The divergence of a predicted Gaussian from the object's side, but for constants; linear where
    the error exceeds one (He et al. 2019, "Bounding Box Regression with Uncertainty", eqs. 9 and
    10). For `coders.GaussianCorners`. The release adds the first summand twice, each time a
    constant for one of its factors, which has the same gradient (`fast_rcnn_heads.py`).

    Args:
        weight: of the whole term.
    """

    deltas, counts = "gaussian", "objects"

    def __init__(self, weight: Positive = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        mean, alpha = paired(matched.predictions.deltas, matched).split(4, dim=-1)
        target, weight = paired_deltas(matched)
        error = F.smooth_l1_loss(mean, target, reduction="none")
        costs = ((-alpha).clamp(max=LARGEST).exp() * error + alpha / 2).sum(-1)
        return self.weight * of_priors(costs * weight, matched)


def paired(values: Tensor, matched: Matched) -> Tensor:
    """Rows [B, P, ...] of `values` [B, N, ...] that the pairs name; all of them without pairs."""
    return values if matched.pairs is None else gather_rows(values, matched.pairs.prior)


def paired_objects(matched: Matched) -> tuple[Tensor, Tensor]:
    """Boxes [B, P, 4] and weights [B, P] beside what `paired` gives."""
    if matched.pairs is None:
        return matched.target_boxes, matched.positive
    return matched.pairs.boxes, matched.pairs.weight


def paired_deltas(matched: Matched) -> tuple[Tensor, Tensor]:
    """What the boxes of `paired_objects` are encoded to, [B, P, 4], and their weights."""
    if matched.pairs is None:
        return matched.target_deltas, matched.positive
    assert matched.pairs.deltas is not None  # a criterion has encoded them
    return matched.pairs.deltas, matched.pairs.weight


def of_priors(costs: Tensor, matched: Matched) -> Tensor:
    """Costs [B, P] of the pairs, summed for each prior: [B, N]."""
    if matched.pairs is None:
        return costs
    return torch.zeros_like(matched.positive).scatter_add(1, matched.pairs.prior, costs)


class YoloBox(LossTerm):
    """YOLOv3's: cross-entropy on the sigmoid centre, half a square on the log sides.

    Objects weigh `2 - w h` with sides relative to the canvas, so that small ones count more
    (darknet, src/yolo_layer.c; the gradient "truth minus prediction" of YOLOv3, sec. 2.1).
    """

    deltas, counts = "box", "objects"

    def __init__(self, weight: Positive = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        deltas = paired(matched.predictions.deltas, matched)
        (target, weight), (objects, _) = paired_deltas(matched), paired_objects(matched)
        center = F.binary_cross_entropy_with_logits(
            deltas[..., :2], target[..., :2].sigmoid(), reduction="none"
        )
        side = (deltas[..., 2:] - target[..., 2:]).square() / 2
        height, width = matched.predictions.priors.canvas
        importance = 2 - area(objects) / (height * width)
        loss = importance * torch.cat([center, side], dim=-1).sum(-1)
        return self.weight * of_priors(loss * weight, matched)
