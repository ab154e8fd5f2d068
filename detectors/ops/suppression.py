"""Non-maximum suppression of ranked candidates: static shapes in, static shapes out.

Suppression is a relation, "i removes j", and a number of rounds. Run to its fixed point a relation
gives the greedy result: a candidate stays if nobody who stays removes it. How long that takes
depends on data, so it hides in a custom operator, one node to `torch.compile` and `torch.export`.
"""

import torch
import torchvision
from torch import Tensor


def one_round(relation: Tensor, alive: Tensor) -> Tensor:
    """Candidates [B, K] whom nobody of `alive` [B, K] removes; `relation` [B, K, K] is (i, j)."""
    return ~(relation & alive[:, :, None]).any(dim=1)


@torch.library.custom_op("detectors::fixed_point", mutates_args=())
def fixed_point(relation: Tensor, valid: Tensor) -> Tensor:
    """Candidates that remain when only those that remain may remove others.

    Args:
        relation: [B, K, K] bool, i removes j; only true where i ranks above j.
        valid: [B, K] bool; the others neither remove nor remain.

    Returns:
        [B, K] bool, the result of greedy suppression in rank order.
    """
    keep = valid.clone()
    while True:  # settles at least the best unsettled candidate each round: at most K rounds
        following = one_round(relation, keep) & valid
        if torch.equal(following, keep):
            return following
        keep = following


@fixed_point.register_fake
def _(relation: Tensor, valid: Tensor) -> Tensor:
    return torch.empty_like(valid)


@torch.library.custom_op("detectors::greedy_iou", mutates_args=())
def greedy_iou(boxes: Tensor, groups: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Greedy suppression of ranked boxes by IoU above `threshold`, each group for itself.

    The same result as `fixed_point` on the IoU relation, without the [K, K] matrix: torchvision's
    sequential kernel, image by image and group by group.

    Args:
        boxes: [B, K, 4] xyxy, scores falling.
        groups: [B, K] int; boxes of different groups never meet.
        valid: [B, K] bool.
        threshold: IoU above which the lower ranked box goes.

    Returns:
        [B, K] bool.
    """
    keep = torch.zeros_like(valid)
    falling = torch.arange(valid.shape[1], 0, -1, device=boxes.device, dtype=boxes.dtype)
    for image in range(len(boxes)):
        (rows,) = valid[image].nonzero(as_tuple=True)
        group, order = groups[image, rows].sort(stable=True)  # ranks still fall within a group
        rows = rows[order]
        counts = group.unique_consecutive(return_counts=True)[1].tolist()
        for own, corners in zip(rows.split(counts), boxes[image, rows].split(counts), strict=True):
            best = torchvision.ops.nms(corners, falling[: len(own)], threshold)
            keep[image].index_fill_(0, own[best], True)
    return keep


@greedy_iou.register_fake
def _(boxes: Tensor, groups: Tensor, valid: Tensor, threshold: float) -> Tensor:
    return torch.empty_like(valid)
