"""Levels on top of any pyramid, as many as the priors want."""

from collections.abc import Sequence
from itertools import pairwise
from math import log2

import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import ConvNormAct
from detectors.priors import PriorGrid
from detectors.structures import FeatureSpec


class LevelsFromOutput(nn.ModuleDict):
    """Levels more, until there are as many as the priors are made for; none where there are enough.

    Each is a 3x3 convolution of stride 2 of the last, a ReLU between two of them: P6 and P7 from P5
    in torchvision's RetinaNet (v1) and FCOS. The name of a level holds the logarithm of its stride.

    Args:
        inputs: levels of the backbone, not used.
        outputs: those of the pyramid, finest first.
        priors: the grid of the dense head.
    """

    def __init__(
        self, inputs: Sequence[FeatureSpec], outputs: Sequence[FeatureSpec], priors: PriorGrid
    ) -> None:
        self.specs = with_coarser(outputs, priors)[len(outputs) :]
        super().__init__(
            {
                f"p{log2(spec.stride):.0f}": halving(spec.channels, spec.channels)
                for spec in self.specs
            }
        )

    def forward(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Tensor]:
        """The levels more."""
        added: list[Tensor] = []
        for halve in self.values():
            added.append(halve(added[-1].relu() if added else outputs[-1]))
        return added


class ExtraLevels(nn.Module):
    """The levels as they are, then those of `LevelsFromOutput`.

    Args:
        specs: levels, finest first.
        priors: the grid of the dense head.
    """

    def __init__(self, specs: Sequence[FeatureSpec], priors: PriorGrid) -> None:
        super().__init__()
        self.added = LevelsFromOutput(specs, specs, priors)
        self.specs = [*specs, *self.added.specs]

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [*features, *self.added(features, features)]


def halving(in_channels: int, out_channels: int) -> ConvNormAct:
    """A 3x3 convolution of stride 2, nothing behind it."""
    return ConvNormAct(in_channels, out_channels, 3, stride=2, norm=None, act=None)


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
