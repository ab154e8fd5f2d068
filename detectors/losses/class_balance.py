"""Weights priors by how rare the class of their object is."""

import torch
from torch import Tensor

from detectors.layers.progress import Counting
from detectors.losses import LossWeight
from detectors.ranges import Share
from detectors.structures import Matched


class ClassBalancedWeight(Counting, LossWeight):
    """Weights classes by the inverse of their effective number of objects.

    Cui et al. 2019, eqs. 2 and 4: `(1 - beta) / (1 - beta^n)` for n objects, scaled so that the
    mean over classes is one (sec. 4.2). Background counts as one. A weight of a `Criterion`. It
    has to be told how many objects there are, as `LitDetector` does; outside of training all
    classes are alike until then.

    Args:
        num_classes: C.
        beta: 0 counts all alike, towards 1 the inverse of n.

    Raises:
        ValueError: beta is outside of [0, 1); or, when trained, nobody has told the objects.
    """

    weights: Tensor

    def __init__(self, num_classes: int, beta: Share) -> None:
        super().__init__()
        if not 0 <= beta < 1:
            raise ValueError(f"found beta={beta}, expected 0 <= beta < 1, such as 0.999")
        self.beta, self.classes = beta, num_classes
        self.register_buffer("weights", torch.ones(num_classes), persistent=False)

    def count(self, objects: Tensor) -> None:
        """Take the number of objects of each class, [C]; one without any counts as with one."""
        share = (1 - self.beta) / (1 - self.beta ** objects.double().clamp(min=1))
        self.weights.copy_(share / share.mean())

    def forward(self, matched: Matched) -> Tensor:
        """[B, N], mean one over classes."""
        self.require_counts()
        return torch.where(matched.positive > 0, self.weights[matched.labels], 1.0)
