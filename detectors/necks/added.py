"""Levels on top of any pyramid, as many as the priors want."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import ConvNormAct
from detectors.priors import PriorGrid
from detectors.structures import FeatureSpec


class AddedLevels(nn.Module):
    """The levels as they are, then coarser ones, each a 3x3 convolution of stride 2 of the last.

    As `LevelsFromOutput`, a ReLU between two of them, but until there are as many levels as the
    priors are made for; none where there are enough.

    Args:
        specs: levels, finest first.
        priors: the grid of the dense head.
    """

    def __init__(self, specs: Sequence[FeatureSpec], priors: PriorGrid) -> None:
        super().__init__()
        self.specs = with_coarser(specs, priors)
        channels = specs[-1].channels
        self.halve = nn.ModuleList(
            ConvNormAct(channels, channels, 3, stride=2, norm=None, act=None)
            for _ in self.specs[len(specs) :]
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        outputs = list(features)
        for index, halve in enumerate(self.halve):
            outputs.append(halve(outputs[-1].relu() if index else outputs[-1]))
        return outputs


def with_coarser(specs: Sequence[FeatureSpec], priors: PriorGrid) -> list[FeatureSpec]:
    """`specs`, the last one repeated with doubled strides for the levels that the priors want."""
    extended = list(specs)
    while len(extended) < len(priors.per_cell):
        extended.append(FeatureSpec(extended[-1].channels, 2 * extended[-1].stride))
    return extended


def halved(x: Tensor) -> Tensor:
    """Largest value of 3x3 cells around every second one, rounded up."""
    return F.max_pool2d(x, 3, stride=2, padding=1)


def check_doubling(specs: Sequence[FeatureSpec], neck: str) -> None:
    """Refuse levels that cannot be fused.

    Raises:
        ValueError: there are fewer than two, or a stride is not twice the one before.
    """
    strides = [spec.stride for spec in specs]
    if len(strides) < 2 or any(b != 2 * a for a, b in pairwise(strides)):
        raise ValueError(
            f"{neck} fuses levels of doubling strides, it was given {strides}: ask the backbone "
            "for more, such as part.levels=[8,16,32], or choose a family of several levels"
        )
