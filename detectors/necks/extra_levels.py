"""Adds coarser levels to a feature pyramid until there are as many as the priors expect."""

from collections.abc import Sequence
from itertools import pairwise
from math import log2

import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import ConvNormAct
from detectors.necks import Neck
from detectors.priors import PriorGrid
from detectors.structures import FeatureSpec


class LevelsFromOutput(nn.ModuleDict):
    """The levels that a pyramid lacks, made from its coarsest one; none if there are enough.

    Each is a 3x3 convolution of stride 2 on the one before, with a ReLU between two of them: P6 and
    P7 from P5 in torchvision's RetinaNet (v1) and FCOS. A level's name contains the binary
    logarithm of its stride.

    Args:
        inputs: levels of the backbone, not used.
        outputs: levels of the pyramid, finest first.
        priors: the grid of the dense head, which says how many levels are needed.
        rectified: whether there is that ReLU; mmdetection has none unless asked for.
    """

    def __init__(
        self,
        inputs: Sequence[FeatureSpec],
        outputs: Sequence[FeatureSpec],
        priors: PriorGrid,
        rectified: bool = True,
    ) -> None:
        self.rectified = rectified
        self.specs = with_coarser(outputs, priors)[len(outputs) :]
        super().__init__(
            {
                f"p{log2(spec.stride):.0f}": halving(spec.channels, spec.channels)
                for spec in self.specs
            }
        )

    def forward(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Tensor]:
        """The added levels alone."""
        added: list[Tensor] = []
        for halve in self.values():
            above = added[-1] if added else outputs[-1]
            added.append(halve(above.relu() if added and self.rectified else above))
        return added


class ExtraLevels(Neck):
    """Appends the levels of `LevelsFromOutput` and leaves the others unchanged.

    Args:
        specs: levels, finest first.
        priors: the grid of the dense head, which says how many levels are needed.
    """

    def __init__(self, specs: Sequence[FeatureSpec], priors: PriorGrid) -> None:
        super().__init__()
        self.added = LevelsFromOutput(specs, specs, priors)
        self.specs = [*specs, *self.added.specs]

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [*features, *self.added(features, features)]


def halving(in_channels: int, out_channels: int) -> ConvNormAct:
    """A 3x3 convolution of stride 2 without norm or activation."""
    return ConvNormAct(in_channels, out_channels, 3, stride=2, norm=None, act=None)


def with_coarser(specs: Sequence[FeatureSpec], priors: PriorGrid) -> list[FeatureSpec]:
    """`specs`, extended by copies of the last at doubling strides for all levels of `priors`."""
    extended = list(specs)
    while len(extended) < len(priors.per_cell):
        extended.append(FeatureSpec(extended[-1].channels, 2 * extended[-1].stride))
    return extended


def halved(x: Tensor) -> Tensor:
    """The maximum of the 3x3 cells around every second cell: sides are halved and rounded up."""
    return F.max_pool2d(x, 3, stride=2, padding=1)


def halved_same(x: Tensor) -> Tensor:
    """The same with TensorFlow's padding "SAME": an even side is padded at its end alone."""
    height, width = x.shape[-2:]
    return F.max_pool2d(x, 3, stride=2, padding=(height % 2, width % 2), ceil_mode=True)


def check_doubling(specs: Sequence[FeatureSpec], neck: str) -> None:
    """Refuse levels that `neck` cannot fuse.

    Raises:
        ValueError: there are fewer than two, or a stride is not twice the one before.
    """
    strides = [spec.stride for spec in specs]
    if len(strides) < 2 or any(b != 2 * a for a, b in pairwise(strides)):
        raise ValueError(
            f"{neck} fuses two or more levels whose strides double, but was given strides "
            f"{strides}: ask the backbone for more levels, such as part.levels=[8,16,32], or "
            "choose a family with several levels"
        )


def check_rising(specs: Sequence[FeatureSpec], neck: str) -> None:
    """Refuse levels of one size, such as those of stacked hourglasses, of which no path leads up.

    Raises:
        ValueError: a stride is not larger than the one before.
    """
    strides = [spec.stride for spec in specs]
    if any(b <= a for a, b in pairwise(strides)):
        raise ValueError(
            f"{neck} joins levels whose strides rise, but was given strides {strides}: choose "
            "neck=identity, or a backbone that is no stack of hourglasses"
        )
