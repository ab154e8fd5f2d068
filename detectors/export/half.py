"""Weights in half precision, with which everything is computed in float32."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from detectors.detector import Detector

FAITHFUL = 1e-3  # part of its norm by which rounding may change a weight; 2^-11 is usual


class Halved(NamedTuple):
    """A detector whose large weights are float16, and how many numbers are and are not."""

    detector: Detector
    half: int
    kept: int


class Widened(nn.Module):
    """A weight that is stored in float16 and read in float32."""

    def forward(self, stored: Tensor) -> Tensor:
        return stored.float()


def halved(detector: Detector) -> Halved:
    """A copy with the weights of convolutions and linear layers in float16, where that is faithful.

    Vectors (biases, normalisation) stay as they are, and so does a weight that rounding would
    change by more than `FAITHFUL`, because its numbers are too large or too small for float16.
    """
    copied = copy.deepcopy(detector)
    for module in list(copied.modules()):
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.dim() > 1 and _faithful(weight.detach()):
                parametrize.register_parametrization(module, name, Widened())
                weight.data = weight.data.half()
    half = sum(p.numel() for p in copied.parameters() if p.dtype == torch.float16)
    return Halved(copied.eval(), half, sum(p.numel() for p in copied.parameters()) - half)


def _faithful(weight: Tensor) -> bool:
    change = weight.half().float() - weight
    return bool(change.isfinite().all()) and float(change.norm()) <= FAITHFUL * float(weight.norm())
