"""YOLOv1: of a cell's boxes, the one that fits best is responsible for the cell's object."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.best_shape import holds_center
from detectors.assigners.ties import assignable, highest, last
from detectors.ops.boxes import aligned_iou, centers, sides
from detectors.ops.selection import gather_rows
from detectors.structures import Assignment, Predictions, Targets


class Responsible(Assigner):
    """One object per cell, one prior per object: the one that already predicts it best.

    The object belongs to the cell of its centre. Of several in one cell the first of the list has
    it and the others are dropped; darknet does the same after shuffling the list. Best is the
    highest IoU of the predicted box (YOLOv1, sec. 2), and where no box of the cell overlaps the
    object at all the smallest distance of (x, y, w, h) relative to the image (darknet
    `src/detection_layer.c`).
    """

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors; nothing is ignored."""
        priors = predictions.priors
        held = holds_center(priors, targets.boxes) & assignable(targets)[:, :, None]  # [B, M, N]
        rows = torch.arange(held.shape[1], device=held.device)[:, None]
        owner, occupied = highest(held, -rows.float())
        fit = fitness(boxes, gather_rows(targets.boxes, owner), priors.canvas)  # [B, N]
        owned = occupied[:, None] & (owner[:, None] == rows)  # [B, M, N]
        best = torch.where(owned, fit[:, None], -torch.inf).argmax(dim=2, keepdim=True)
        chosen = torch.zeros_like(owned).scatter(2, best, owned.any(dim=2, keepdim=True))
        matched, positive = last(chosen)
        return Assignment(matched, positive, torch.zeros_like(positive))


def fitness(boxes: Tensor, objects: Tensor, canvas: tuple[int, int]) -> Tensor:
    """IoU of boxes with objects [..., 4] as [...]; minus their squared distance where it is 0."""
    height, width = canvas
    size = boxes.new_tensor([width, height])
    away = (centers(boxes) - centers(objects)) / size
    apart = (sides(boxes) - sides(objects)) / size
    iou = aligned_iou(boxes, objects)
    return torch.where(iou > 0, iou, -(away.square() + apart.square()).sum(-1))
