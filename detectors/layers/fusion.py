"""Sums, plain ones and with learnt weights."""

from collections.abc import Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from detectors.ranges import Positive


class UnweightedSum(nn.Module):
    """The sum of tensors of one shape, made like a `WeightedSum`, whatever their number is."""

    def __init__(self, inputs: int) -> None:
        super().__init__()

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        return reduce(add, tensors)


class WeightedSum(nn.Module):
    """A weighted mean of tensors of one shape; each has one learnt weight, and all start equal.

    "Fast normalized fusion", EfficientDet (Tan et al. 2020), sec. 3.3: w_i / (eps + sum of all
    w_j), where w is the ReLU of the learnt number. YOLOv4 calls it multi-input weighted residual
    connections (sec. 3.4).

    Args:
        inputs: number of tensors.
        eps: added to the sum of the weights; 0.0001 in the paper.
    """

    def __init__(self, inputs: int, eps: Positive = 1e-4) -> None:
        super().__init__()
        self.weights, self.eps = nn.Parameter(torch.ones(inputs)), eps

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        weights = self.weights.relu()
        shares = (weights / (weights.sum() + self.eps)).unbind()
        return reduce(add, (share * x for share, x in zip(shares, tensors, strict=True)))
