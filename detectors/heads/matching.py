"""Predictions beside what they are to be: the common step before any loss term."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from detectors.coders import Coder
from detectors.ops.selection import gather_rows
from detectors.structures import Assignment, Matched, Predictions, Targets

Normalizer = Callable[[Tensor, Tensor], Tensor]


class Criterion(nn.Module):
    """Loss terms of one stage over assigned priors.

    Args:
        num_classes: C.
        coder: encodes the target boxes.
        losses: named terms; an entry that is None is left out.
        normalizer: one of `losses.reduction`.
    """

    def __init__(
        self,
        num_classes: int,
        coder: Coder,
        losses: dict[str, nn.Module | None],
        normalizer: Normalizer,
    ) -> None:
        super().__init__()
        self.num_classes, self.coder, self.normalizer = num_classes, coder, normalizer
        self.losses = nn.ModuleDict({name: term for name, term in losses.items() if term})

    def forward(
        self, predictions: Predictions, boxes: Tensor, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Each term by its name, a scalar.

        Args:
            predictions: of N priors.
            boxes: [B, N, 4] decoded.
            targets: padded objects.
            assignment: of the N priors to the objects.
        """
        matched = self.match(predictions, boxes, targets, assignment)
        return {name: term(matched) for name, term in self.losses.items()}

    def match(
        self, predictions: Predictions, boxes: Tensor, targets: Targets, assignment: Assignment
    ) -> Matched:
        """Every prior with its target; an unmatched prior is its own, so all terms stay finite."""
        positive = assignment.positive
        objects = gather_rows(targets.boxes, assignment.matched)
        target_boxes = torch.where(positive[..., None], objects, predictions.priors.boxes)
        labels = targets.labels.gather(1, assignment.matched)
        scores = assignment.scores
        if scores is None:
            scores = self._one_hot(labels, positive)
        counted = (~assignment.ignored).float()
        return Matched(
            predictions=predictions,
            boxes=boxes,
            target_boxes=target_boxes,
            target_deltas=self.coder.encode(target_boxes, predictions.priors),
            target_scores=scores,
            labels=labels,
            positive=positive.float(),
            counted=counted,
            normalizer=self.normalizer(positive.float(), counted),
            pairs=assignment.pairs,
        )

    def _one_hot(self, labels: Tensor, positive: Tensor) -> Tensor:
        classes = torch.arange(self.num_classes, device=labels.device)
        return ((labels[..., None] == classes) & positive[..., None]).float()
