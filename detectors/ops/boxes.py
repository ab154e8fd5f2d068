"""Box geometry. All functions broadcast: `a[:, None]` against `b[None]` gives the pairwise form."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

IoUKind = Literal["iou", "giou", "diou", "ciou", "eiou"]
EPSILON = 1e-12  # keeps an empty union finite, and is nothing beside one in any sensible unit


def area(boxes: Tensor) -> Tensor:
    """Area of xyxy boxes [..., 4] as [...]; 0 for an inverted box."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)


def centers(boxes: Tensor) -> Tensor:
    """Centres (x, y) of xyxy boxes, [..., 4] to [..., 2]."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def sides(boxes: Tensor) -> Tensor:
    """Width and height of xyxy boxes, [..., 4] to [..., 2]."""
    return boxes[..., 2:] - boxes[..., :2]


def from_center(center: Tensor, side: Tensor) -> Tensor:
    """Boxes xyxy [..., 4] from centres [..., 2] and (width, height) [..., 2]."""
    return torch.cat([center - side / 2, center + side / 2], dim=-1)


def clip(boxes: Tensor, frames: Tensor) -> Tensor:
    """Boxes [..., 4] cut to `frames` [..., 4] xyxy, which broadcast."""
    low, high = frames[..., :2], frames[..., 2:]
    x1y1 = boxes[..., :2].maximum(low).minimum(high)
    x2y2 = boxes[..., 2:].maximum(low).minimum(high)
    return torch.cat([x1y1, x2y2], dim=-1)


def aligned_iou(a: Tensor, b: Tensor, kind: IoUKind = "iou") -> Tensor:
    """Overlap of boxes `a` with boxes `b`, aligned and broadcast.

    Args:
        a: [..., 4] xyxy, any unit.
        b: [..., 4] xyxy, the same unit; for "ciou" the ground truth.
        kind: "iou"; "giou" (Rezatofighi et al. 2019, Alg. 1); "diou" or "ciou" (Zheng et al. 2020,
            eqs. 7 and 10-12, whose weight alpha takes no gradient); "eiou" (Zhang et al. 2021,
            "Focal and Efficient IOU Loss", sec. 3.2).

    Returns:
        [...]; "iou" in [0, 1], "giou" and "diou" in (-1, 1], "ciou" and "eiou" lower still. Empty
        boxes overlap nothing: 0, never NaN.

    Raises:
        ValueError: kind is unknown.
    """
    if kind not in get_args(IoUKind):
        raise ValueError(f"overlap kind {kind!r} is unknown: choose {', '.join(get_args(IoUKind))}")
    ax1, ay1, ax2, ay2 = a.unbind(-1)
    bx1, by1, bx2, by2 = b.unbind(-1)
    width = (ax2.minimum(bx2) - ax1.maximum(bx1)).clamp(min=0)
    height = (ay2.minimum(by2) - ay1.maximum(by1)).clamp(min=0)
    intersection = width * height
    union = area(a) + area(b) - intersection
    iou = intersection / (union + EPSILON)
    if kind == "iou":
        return iou
    hull_width = ax2.maximum(bx2) - ax1.minimum(bx1)
    hull_height = ay2.maximum(by2) - ay1.minimum(by1)
    if kind == "giou":
        hull = hull_width * hull_height
        return iou - (hull - union) / (hull + EPSILON)
    diagonal = hull_width.square() + hull_height.square()
    distance = (ax1 + ax2 - bx1 - bx2).square() + (ay1 + ay2 - by1 - by2).square()
    diou = iou - distance / 4 / (diagonal + EPSILON)
    if kind == "diou":
        return diou
    if kind == "eiou":
        wider = (bx2 - bx1 - ax2 + ax1).square() / (hull_width.square() + EPSILON)
        taller = (by2 - by1 - ay2 + ay1).square() / (hull_height.square() + EPSILON)
        return diou - wider - taller
    aspect = torch.atan2(bx2 - bx1, by2 - by1) - torch.atan2(ax2 - ax1, ay2 - ay1)
    v = 4 / math.pi**2 * aspect.square()
    with torch.no_grad():
        alpha = v / (1 - iou + v + 1e-7)  # 0 where box and object agree, whatever rounds
    return diou - alpha * v


def center_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of centres over the squared diagonal of the hull: [..., 4] twice to [...].

    Zheng et al. 2020, eq. 6; in [0, 1), 0 between empty boxes at one place. Broadcasts.
    """
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    apart = centers(a) - centers(b)
    return apart.square().sum(-1) / (hull.square().sum(-1) + EPSILON)


def pairwise_iou(a: Tensor, b: Tensor, kind: IoUKind = "iou") -> Tensor:
    """Overlap of every box of `a` [..., M, 4] with every box of `b` [..., N, 4] as [..., M, N]."""
    return aligned_iou(a[..., :, None, :], b[..., None, :, :], kind)


def pairwise_shape_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of every (width, height) of `a` [..., M, 2] with every one of `b` [..., N, 2].

    Both boxes stand on one centre (YOLO9000, sec. 2, "Dimension Clusters"). Returns [..., M, N].
    """
    a, b = a[..., :, None, :], b[..., None, :, :]
    intersection = a.minimum(b).prod(-1)
    return intersection / (a.prod(-1) + b.prod(-1) - intersection + EPSILON)
