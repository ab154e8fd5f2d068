"""Coders turn numbers into boxes and back, relative to priors; with their contract."""

import math
from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from detectors.ops.boxes import centers, from_center, sides
from detectors.ranges import Count, Positive, Weight
from detectors.structures import PriorRows, Priors

DeltaKind = Literal["box", "distribution", "gaussian", "point"]
EPSILON = 1e-6


class Coder(nn.Module, ABC):
    """Turns what a network regresses into boxes, and boxes into what it is to regress."""

    numbers: Annotated[int, "how many numbers of each prior it decodes"] = 4
    kind: Annotated[
        DeltaKind,
        "whether these are a box, a distribution for each side, a Gaussian for each, or a point",
    ] = "box"
    by_class: Annotated[bool, "whether a box of another class has other deltas"] = False
    # Parameters that another coder has, with the reason why this one has not.
    lacking = MappingProxyType(
        {
            "reach": "its centres may lie anywhere, while grid sensitivity widens the cell to "
            "which a sigmoid confines those of coder=yolo: choose that coder, or leave the trick "
            "out"
        }
    )

    def __init__(self) -> None:  # without it, any key of a config would seem to be taken
        super().__init__()

    @abstractmethod
    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """Deltas [..., N, 4] of boxes [..., N, 4], whatever `numbers` is; of a point [..., N, 2].

        Where a prior has several objects, its rows come as `PriorRows`, with strides [B, N].
        """

    @abstractmethod
    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., N, 4] of deltas [..., N, numbers]."""

    def encode_own(self, boxes: Tensor, priors: Priors | PriorRows, labels: Tensor) -> Tensor:
        """Deltas as `encode`, of boxes of known classes, labels [B, N]."""
        return self.encode(boxes, priors)

    def decode_own(self, deltas: Tensor, priors: Priors, labels: Tensor) -> Tensor:
        """Boxes as `decode`, of deltas that are each of a known class, labels [B, N]."""
        return self.decode(deltas, priors)

    def deviations(self, deltas: Tensor) -> Tensor | None:
        """How unsure the left, top, right and bottom side are, [..., N, 4]; None: unknown."""
        return None


class Delta(Coder):
    """Shift of the centre in prior sides and log-ratio of the sides (R-CNN, appendix C).

    Args:
        weights: what (dx, dy, dw, dh) are multiplied by; SSD's variances are their inverses.
    """

    limit = math.log(1000 / 16)  # largest growth that decode believes, as in Detectron

    def __init__(self, weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)) -> None:
        super().__init__()
        self.weights = tuple(weights)

    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """Deltas [..., N, 4] of boxes [..., N, 4]; finite even between boxes without area."""
        side = sides(priors.boxes).clamp(min=EPSILON)  # padding among proposals is empty
        shift = (centers(boxes) - centers(priors.boxes)) / side
        growth = torch.log(sides(boxes).clamp(min=EPSILON) / side)
        return torch.cat([shift, growth], dim=-1) * boxes.new_tensor(self.weights)

    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., N, 4] of deltas [..., N, 4]."""
        deltas = deltas / deltas.new_tensor(self.weights)
        side = sides(priors.boxes)
        center = centers(priors.boxes) + deltas[..., :2] * side
        return from_center(center, side * deltas[..., 2:].clamp(max=self.limit).exp())


class ClassDelta(Coder):
    """`Delta` without the mean of each class, and divided by its deviation.

    Fast R-CNN, sec. 2.3, normalises targets to zero mean and unit variance; that this is done for
    each class is its release's (`roidb.py`). `engine.targets` measures both in the training data.

    Args:
        num_classes: C.
        weights: inverse deviations of a class that has too few boxes.
    """

    by_class = True
    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        num_classes: Count,
        weights: tuple[Positive, Positive, Positive, Positive] = (10.0, 10.0, 5.0, 5.0),
    ) -> None:
        super().__init__()
        self.plain = Delta()
        self.register_buffer("mean", torch.zeros(num_classes, 4))
        self.register_buffer("deviation", 1 / torch.tensor(weights).repeat(num_classes, 1))

    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """Deltas [..., C, 4] of boxes [..., C, 4], one for each class."""
        return (self.plain.encode(boxes, priors) - self.mean) / self.deviation

    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., C, 4] of deltas [..., C, 4], one for each class."""
        return self.plain.decode(deltas * self.deviation + self.mean, priors)

    def encode_own(self, boxes: Tensor, priors: Priors | PriorRows, labels: Tensor) -> Tensor:
        deltas = self.plain.encode(boxes, priors)
        return (deltas - self.mean[labels]) / self.deviation[labels]

    def decode_own(self, deltas: Tensor, priors: Priors, labels: Tensor) -> Tensor:
        return self.plain.decode(deltas * self.deviation[labels] + self.mean[labels], priors)


class Distance(Coder):
    """Distances from a point to the left, top, right and bottom side, in strides (FCOS, sec. 3.1).

    Distances are `relu(deltas)`, as in the improved FCOS whose targets are divided by the stride.
    """

    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """Distances [..., N, 4]; negative where the point lies outside the box."""
        center = centers(priors.boxes)
        distances = torch.cat([center - boxes[..., :2], boxes[..., 2:] - center], dim=-1)
        return distances / priors.stride[..., None]

    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., N, 4]."""
        center = centers(priors.boxes)
        distances = deltas.relu() * priors.stride[..., None]
        return torch.cat([center - distances[..., :2], center + distances[..., 2:]], dim=-1)


class LogDistance(Coder):
    """Logarithms of distances to the four sides over the side of a level (FoveaBox, sec. 3).

    Distances that are encoded are cut to [1/16, 16] of the level's side, as in the release, so that
    they are finite for points outside.

    Args:
        side: of a level, in strides; 2 is the release's 16 pixels at stride 8.
    """

    span = 16.0
    limit = math.log(1e4)  # keeps a runaway side finite

    def __init__(self, side: Positive = 2.0) -> None:
        super().__init__()
        self.side = side

    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """Logarithms [..., N, 4]."""
        distances = Distance().encode(boxes, priors) / self.side
        return distances.clamp(1 / self.span, self.span).log()

    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., N, 4]."""
        return Distance().decode(self.side * deltas.clamp(max=self.limit).exp(), priors)


class DistanceDistribution(Coder):
    """Distances to the four sides in strides, each the mean of a distribution over 0, 1, ... bins.

    Li et al. 2020, "Generalized Focal Loss", eqs. 3 to 5: `sum_i p_i i` of a softmax.

    Args:
        bins: the last place, the largest distance in strides.
    """

    kind = "distribution"
    places: Tensor

    def __init__(self, bins: Count = 16) -> None:
        super().__init__()
        self.numbers = 4 * (bins + 1)
        self.register_buffer("places", torch.arange(bins + 1.0), persistent=False)

    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """Distances [..., N, 4] as of `Distance`."""
        return Distance().encode(boxes, priors)

    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., N, 4] of logits [..., N, 4 * (bins + 1)], side by side."""
        scores = deltas.unflatten(-1, (4, -1)).softmax(-1)
        return Distance().decode((scores * self.places).sum(-1), priors)


class GaussianCorners(Coder):
    """Each side a Gaussian: its mean is a shift in prior sides, beside it `log(sigma^2)`.

    He et al. 2019, "Bounding Box Regression with Uncertainty", sec. 3.1. The eight numbers are the
    shifts of the left, top, right and bottom side, then their `log(sigma^2)`.

    Args:
        weight: what the shifts are multiplied by, 10 in the release; deviations are in this unit.
    """

    numbers, kind = 8, "gaussian"
    limit = 1000 / 16  # largest shift that decode believes, in prior sides

    def __init__(self, weight: Positive = 10.0) -> None:
        super().__init__()
        self.weight = weight

    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """Shifts [..., N, 4] of the left, top, right and bottom side."""
        side = sides(priors.boxes).clamp(min=EPSILON)
        return (boxes - priors.boxes) / torch.cat([side, side], dim=-1) * self.weight

    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., N, 4] of deltas [..., N, 8]: the means."""
        shifts = (deltas[..., :4] / self.weight).clamp(-self.limit, self.limit)
        side = sides(priors.boxes)
        return priors.boxes + shifts * torch.cat([side, side], dim=-1)

    def deviations(self, deltas: Tensor) -> Tensor:
        """Sigma of the left, top, right and bottom side, [..., N, 4]."""
        return (deltas[..., 4:] / 2).exp()


class Yolo(Coder):
    """Centre by a sigmoid within the cell, sides by an exponential of the prior's (YOLOv2, sec. 2).

    Args:
        scale: grid sensitivity per level, finest first (YOLOv4, sec. 3.4): the centre is
            `cell + s * sigmoid(t) - (s - 1) / 2`. One number serves all levels.
        reach: the same in pixels beyond the border of the cell, alike on every stride.

    Raises:
        ValueError: both are given.
    """

    limit = math.log(1e4)  # keeps a runaway side finite

    def __init__(self, scale: float | list[float] = 1.0, reach: Weight = 0.0) -> None:
        super().__init__()
        if reach and scale != 1.0:
            raise ValueError(
                f"the coder has grid sensitivity already: scale {scale} beside reach {reach}; "
                "leave one of them"
            )
        self.scale, self.reach = scale, reach

    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """Raw (tx, ty, tw, th) [..., N, 4] of boxes whose centre lies in the prior's cell."""
        cells = (centers(boxes) - centers(priors.boxes)) / priors.stride[..., None]
        inside = (cells / self._scales(priors) + 0.5).clamp(EPSILON, 1 - EPSILON)
        growth = torch.log(sides(boxes).clamp(min=EPSILON) / sides(priors.boxes))
        return torch.cat([torch.logit(inside), growth], dim=-1)

    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., N, 4]."""
        cells = self._scales(priors) * (deltas[..., :2].sigmoid() - 0.5)
        center = centers(priors.boxes) + cells * priors.stride[..., None]
        return from_center(
            center, sides(priors.boxes) * deltas[..., 2:].clamp(max=self.limit).exp()
        )

    def _scales(self, priors: Priors | PriorRows) -> Tensor | float:
        if not self.reach:
            return self._of_levels(priors)
        return self._of_levels(priors) + 2 * self.reach / priors.stride[..., None]

    def _of_levels(self, priors: Priors | PriorRows) -> Tensor | float:
        if not isinstance(self.scale, list):
            return self.scale
        if isinstance(priors, Priors) and len(self.scale) != len(priors.level_sizes):
            raise ValueError(
                f"{len(self.scale)} scales {self.scale} for {len(priors.level_sizes)} levels of "
                "priors: give the coder one scale per level, or one number for all"
            )
        return torch.tensor(self.scale, device=priors.boxes.device)[priors.level][..., None]


class CenterOffset(Coder):
    """Offset of the centre from the cell's corner, and sides, in strides (CenterNet, sec. 3).

    Priors are points in the middle of their cells.
    """

    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """(offset x, offset y, width, height) [..., N, 4]."""
        shift = centers(boxes) - centers(priors.boxes)
        stride = priors.stride[..., None]
        return torch.cat([shift / stride + 0.5, sides(boxes) / stride], dim=-1)

    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., N, 4]."""
        stride = priors.stride[..., None]
        center = centers(priors.boxes) + (deltas[..., :2] - 0.5) * stride
        return from_center(center, deltas[..., 2:].clamp(min=0) * stride)


class PointOffset(Coder):
    """Offset of a point from the cell's corner, in strides (CornerNet, sec. 3.2, eq. 2).

    The point of a box that is encoded is its middle; what is decoded are boxes without sides.
    Priors are points in the middle of their cells.
    """

    numbers, kind = 2, "point"

    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """(offset x, offset y) [..., N, 2]."""
        shift = centers(boxes) - centers(priors.boxes)
        return shift / priors.stride[..., None] + 0.5

    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., N, 4] of deltas [..., N, 2]."""
        point = centers(priors.boxes) + (deltas - 0.5) * priors.stride[..., None]
        return torch.cat([point, point], dim=-1)


class CellOffset(Coder):
    """Offset of the centre from the cell's corner and logarithm of the sides, in strides (YOLOX).

    Ge et al. 2021, sec. 2.1 "Anchor-free"; released `yolo_head.py`. Priors are points in the middle
    of their cells. The centre may lie anywhere.
    """

    limit = Yolo.limit

    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """(offset x, offset y, log of width, log of height) [..., N, 4]; finite without area."""
        shift, stride = centers(boxes) - centers(priors.boxes), priors.stride[..., None]
        side = sides(boxes).clamp(min=0) / stride
        return torch.cat([shift / stride + 0.5, (side + 1e-8).log()], dim=-1)

    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., N, 4]."""
        stride = priors.stride[..., None]
        center = centers(priors.boxes) + (deltas[..., :2] - 0.5) * stride
        return from_center(center, deltas[..., 2:].clamp(max=self.limit).exp() * stride)


class YoloV1(Coder):
    """Offset of the centre from the cell's corner, roots of the sides (YOLOv1, sec. 2.2).

    Offsets are in strides, sides relative to the priors, which are as large as the image and stand
    in the middle of their cells. All four numbers are linear; a root is squared, so that a negative
    one does no harm.
    """

    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """(offset x, offset y, root of width, root of height) [..., N, 4]."""
        shift = (centers(boxes) - centers(priors.boxes)) / priors.stride[..., None]
        share = (sides(boxes) / sides(priors.boxes)).clamp(min=0)
        return torch.cat([shift + 0.5, share.sqrt()], dim=-1)

    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., N, 4]."""
        shift = (deltas[..., :2] - 0.5) * priors.stride[..., None]
        side = deltas[..., 2:].square() * sides(priors.boxes)
        return from_center(centers(priors.boxes) + shift, side)


class Shares(Coder):
    """Centre and sides as parts of the prior, the centre from its left top corner; all linear.

    Ng 2017, "Convolutional Neural Networks", week 3, "Object localization": `(b_x, b_y, b_w, b_h)`,
    the image being the prior.
    """

    def encode(self, boxes: Tensor, priors: Priors | PriorRows) -> Tensor:
        """(centre x, centre y, width, height) [..., N, 4]; in [0, 1] for boxes inside."""
        side = sides(priors.boxes).clamp(min=EPSILON)
        center = (centers(boxes) - priors.boxes[..., :2]) / side
        return torch.cat([center, sides(boxes) / side], dim=-1)

    def decode(self, deltas: Tensor, priors: Priors) -> Tensor:
        """Boxes [..., N, 4]; a side below zero is none."""
        side = sides(priors.boxes)
        center = priors.boxes[..., :2] + deltas[..., :2] * side
        return from_center(center, deltas[..., 2:].clamp(min=0) * side)
