"""A loss term of one's own."""

import math

from torch import Tensor

from detectors.losses import LossTerm
from detectors.structures import Matched


class LogCosh(LossTerm):
    """Logarithm of the hyperbolic cosine of what the deltas of positives are off by."""

    deltas = "box"

    def forward(self, matched: Matched) -> Tensor:
        off = (matched.predictions.deltas - matched.target_deltas).abs()
        costs = off + (-2 * off).exp().log1p() - math.log(2)
        return costs.sum(-1) * matched.positive
