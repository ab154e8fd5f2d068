"""The box loss of YOLOv4 with darknet's own gradient."""

import math

import torch
from torch import Tensor

from detectors.losses import LossTerm
from detectors.losses.box import of_priors, paired, paired_objects
from detectors.ops.boxes import EPSILON, aligned_iou, centers, sides
from detectors.ranges import Positive
from detectors.structures import Matched


class DarknetCIoU(LossTerm):
    """One minus CIoU in value; its gradient is the one darknet writes down, not the derivative.

    `weight` of the cfg files (`iou_normalizer`, .07 in YOLOv4) was found for that gradient. It
    differs from the derivative (`src/box.c`, `dx_box_iou`; `src/yolo_layer.c`, `delta_yolo_box`):

    - taken for x, y, w, h relative to the canvas, it is put on the raw tx, ty as it is, without the
      sigmoid's slope, the grid sensitivity and the cell's size, and on tw, th times exp(t), without
      the prior's side: tens of times as large in x and y, several times in w and h;
    - the part of the IoU for w and h is doubled;
    - the aspect's part lacks 1 / (w^2 + h^2);
    - in x and y the diagonal's derivative has the other sign;
    - boxes that do not meet have no part of the IoU;
    - each number is cut to `limit` after weighting.

    Args:
        weight: of the whole term.
        limit: `max_delta`, 5 in YOLOv4; without one, as in YOLOv4-tiny, nothing is cut.
    """

    deltas, counts = "box", "objects"

    def __init__(self, weight: Positive, limit: float = math.inf) -> None:
        super().__init__()
        self.weight, self.limit = weight, limit

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        deltas = paired(matched.predictions.deltas, matched)
        boxes = paired(matched.boxes, matched).detach()
        objects, weight = paired_objects(matched)
        value = self.weight * (1 - aligned_iou(boxes, objects, "ciou"))
        descent = self._descent(deltas.detach(), boxes, objects, matched)
        pull = (descent * deltas).sum(-1)
        return of_priors((value - (pull - pull.detach())) * weight, matched)

    def _descent(self, deltas: Tensor, boxes: Tensor, objects: Tensor, matched: Matched) -> Tensor:
        """What is added to the raw numbers, [B, P, 4]."""
        height, width = matched.predictions.priors.canvas
        canvas = boxes.new_tensor([width, height, width, height])
        slope = darknet_slope(boxes / canvas, objects / canvas)
        growth = torch.cat([torch.ones_like(deltas[..., :2]), deltas[..., 2:].exp()], dim=-1)
        descent = torch.nan_to_num(self.weight * slope * growth, 0.0, 0.0, 0.0)
        return descent.clamp(-self.limit, self.limit)


def darknet_slope(boxes: Tensor, objects: Tensor) -> Tensor:
    """darknet's slope of CIoU in the centre and sides of `boxes`, (x, y, w, h) [..., 4].

    Args:
        boxes, objects: [..., 4] xyxy relative to the canvas.
    """
    side, true_side = sides(boxes), sides(objects)
    inner = torch.minimum(boxes[..., 2:], objects[..., 2:]) - torch.maximum(
        boxes[..., :2], objects[..., :2]
    )
    meet = (inner > 0).all(-1, keepdim=True)
    common = inner.prod(-1, keepdim=True)
    union = side.prod(-1, keepdim=True) + true_side.prod(-1, keepdim=True) - common
    low = _iou_slope(boxes[..., :2] > objects[..., :2], side, inner, common, union)
    high = _iou_slope(boxes[..., 2:] < objects[..., 2:], side, inner, common, union)
    of_iou = torch.cat([high - low, high + low], dim=-1).where(meet, 0.0)
    return of_iou + _hull_slope(boxes, objects) + _aspect_slope(side, true_side, common / union)


def _iou_slope(
    inside: Tensor, side: Tensor, inner: Tensor, common: Tensor, union: Tensor
) -> Tensor:
    """Slope of the IoU in moving a border outwards, [..., 2]: vertical borders, horizontal ones."""
    of_common = inner.flip(-1) * inside
    of_union = side.flip(-1) - of_common
    return (union * of_common - common * of_union) / (union.square() + EPSILON**2)


def _hull_slope(boxes: Tensor, objects: Tensor) -> Tensor:
    """Of the centres' distance over the hull's diagonal, squared, [..., 4]."""
    hull = torch.maximum(boxes[..., 2:], objects[..., 2:]) - torch.minimum(
        boxes[..., :2], objects[..., :2]
    )
    diagonal = hull.square().sum(-1, keepdim=True) + EPSILON**2
    before = (boxes[..., :2] < objects[..., :2]).float()
    after = (boxes[..., 2:] > objects[..., 2:]).float()
    apart = centers(objects) - centers(boxes)
    distance = apart.square().sum(-1, keepdim=True)
    of_center = 2 * apart * diagonal - 2 * hull * (after - before) * distance
    of_side = 2 * hull * (after + before) / 2 * distance
    return torch.cat([of_center, of_side], dim=-1) / diagonal.square()


def _aspect_slope(side: Tensor, true_side: Tensor, iou: Tensor) -> Tensor:
    """Of alpha times the aspect term, [..., 4]; the centre has none."""
    angles = [torch.atan2(*s.split(1, dim=-1)) for s in (true_side, side)]
    turn = angles[0] - angles[1]
    aspect = 4 / math.pi**2 * turn.square()
    alpha = aspect / (1 - iou + aspect + 1e-6)
    slope = 8 / math.pi**2 * alpha * turn * side.flip(-1) * side.new_tensor([1.0, -1.0])
    return torch.cat([torch.zeros_like(slope), slope], dim=-1)
