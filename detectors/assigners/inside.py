"""Priors that cross the border of the canvas take no part in training."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.ties import pairs_of
from detectors.contracts import check_contract
from detectors.structures import Assignment, Predictions, Priors, Targets


class Inside(Assigner):
    """Another assigner among the priors that lie inside of the canvas; the others are ignored.

    Faster R-CNN, sec. 3.3 "Implementation details": they would make the objective hard to optimise.
    An object's best prior is the best of those inside.
    """

    def __init__(self, assigner: Assigner) -> None:
        super().__init__()
        check_contract(assigner, Assigner)
        self.assigner, self.score = assigner, assigner.score
        self.own_classes = assigner.own_classes

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors."""
        priors = predictions.priors
        inside = within(priors)
        shown = priors._replace(boxes=torch.where(inside[..., None], priors.boxes, 0.0))
        found = self.assigner(predictions._replace(priors=shown), boxes, targets)
        positive, ignored = found.positive & inside, found.ignored | ~inside
        pairs = pairs_of(positive, found.pairs)
        return Assignment(found.matched * inside, positive, ignored, found.scores, pairs)


def within(priors: Priors) -> Tensor:
    """Which priors do not cross the border of the canvas, [1, N] or [B, N] bool."""
    height, width = priors.canvas
    low, high = priors.boxes[..., :2], priors.boxes[..., 2:]
    limit = torch.tensor([width, height], device=high.device)
    return ((low >= 0) & (high <= limit)).all(-1)
