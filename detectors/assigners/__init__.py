"""Assigners: which object each prior is to predict.

`[B, M, N]` (images, padded objects, priors) is the only large intermediate. Objects marked `ignore`
are never assigned.
"""

from abc import ABC, abstractmethod
from typing import Annotated

from torch import Tensor, nn

from detectors.scores import Score
from detectors.structures import Assignment, Predictions, Targets


class Assigner(nn.Module, ABC):
    """Gives each prior an object, nothing, or leaves it out."""

    score: Annotated[
        Score | None,
        "how it scores predictions, of logits as its head's are; None if it looks at none",
    ] = None
    own_classes: Annotated[
        bool, "whether it gives class targets of its own: soft ones, or several at a prior"
    ] = False

    @abstractmethod
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of the N priors, without gradient.

        Args:
            predictions: of the priors, which it holds.
            boxes: [B, N, 4] decoded predictions.
            targets: padded objects.
        """
