"""The bidirectional feature pyramid of EfficientDet (Tan et al. 2020)."""

from collections.abc import Callable, Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm, activation
from detectors.layers.fusion import WeightedSum
from detectors.necks import Neck
from detectors.necks.extra_levels import check_doubling, halved, with_coarser
from detectors.priors import PriorGrid
from detectors.ranges import Count
from detectors.structures import FeatureSpec


class BiFPN(Neck):
    """Brings all levels to one width, then runs paths down and up repeatedly (sec. 3.2 and 3.3).

    If the priors expect more levels than the backbone delivers, coarser ones are added: the first
    is the backbone's coarsest level after a 1x1 convolution and pooling, and each further one is
    pooled from the one before (`resample_feature_map` in `efficientdet_arch.py` of the release). As
    there, a level of the backbone is brought to the width anew for each of the first two paths that
    it enters: one 1x1 convolution for the path down, one for the path up, which the finest does not
    enter.

    Args:
        specs: levels of the backbone, finest first; each stride is twice the one before.
        priors: the grid of the dense head, which says how many levels are needed.
        channels: of every output level.
        repeats: how often the two paths are run; 3 in EfficientDet-D0.
        bias: of the 1x1 convolutions; as of `ConvNormAct`. The release has it before its norms.
        halve: [B, C, H, W] -> [B, C, ceil(H / 2), ceil(W / 2)], the way to a coarser level.
        fuse: makes, of their number, what adds the maps that enter a node.
        init: draws the weights, given the neck; torch's if None.

    Raises:
        ValueError: there are fewer than two levels, or their strides do not double.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        priors: PriorGrid,
        norm: Norm | None,
        act: Activation,
        channels: Count = 64,
        repeats: Count = 3,
        bias: bool | None = None,
        halve: Callable[[Tensor], Tensor] = halved,
        fuse: Callable[[int], nn.Module] = WeightedSum,
        init: Callable[[nn.Module], object] | None = None,
    ) -> None:
        super().__init__()
        self.given, self.halve = len(specs), halve
        self.specs = [spec._replace(channels=channels) for spec in with_coarser(specs, priors)]
        check_doubling(self.specs, "BiFPN")
        entering = list(specs) + [specs[-1]] * (len(self.specs) > self.given)
        bring = partial(ConvNormAct, kernel=1, norm=norm, act=None, bias=bias)
        self.lateral = nn.ModuleList(bring(spec.channels, channels) for spec in entering)
        self.lateral_up = nn.ModuleList(bring(spec.channels, channels) for spec in specs[1:])
        node = partial(_Node, channels=channels, norm=norm, act=act, bias=bias, fuse=fuse)
        self.paths = nn.ModuleList(_TwoPaths(len(self.specs), node, halve) for _ in range(repeats))
        if init is not None:
            init(self)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        entering = [*features, features[-1]][: len(self.lateral)]
        levels = [lateral(x) for lateral, x in zip(self.lateral, entering, strict=True)]
        if len(levels) > self.given:
            levels[-1] = self.halve(levels[-1])
        while len(levels) < len(self.specs):
            levels.append(self.halve(levels[-1]))
        rising = [lateral(x) for lateral, x in zip(self.lateral_up, features[1:], strict=True)]
        rising = [levels[0], *rising, *levels[self.given :]]
        for path in self.paths:
            levels = rising = path(levels, rising)
        return levels


class _TwoPaths(nn.Module):
    """A path from coarse to fine, then one back that also sees its inputs again (fig. 2d).

    Each node is a weighted sum, an activation, a separable 3x3 convolution and a norm.
    """

    def __init__(
        self, levels: int, node: Callable[[int], nn.Module], halve: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.halve = halve
        self.down = nn.ModuleList(node(2) for _ in range(levels - 1))
        self.up = nn.ModuleList(node(3 if level < levels - 1 else 2) for level in range(1, levels))

    def forward(self, inputs: list[Tensor], rising: list[Tensor]) -> list[Tensor]:
        """Levels, finest first, of those that enter the path down and those that the path up sees.

        Of `rising` the finest is not looked at.
        """
        between = inputs[-1:]
        for node, level in zip(reversed(self.down), reversed(inputs[:-1]), strict=True):
            coarser = F.interpolate(between[0], size=level.shape[-2:])
            between.insert(0, node([level, coarser]))
        outputs = between[:1]
        for index, node in enumerate(self.up, start=1):
            middle = [between[index]] if index < len(self.up) else []
            outputs.append(node([rising[index], *middle, self.halve(outputs[-1])]))
        return outputs


class _Node(nn.Module):
    def __init__(
        self,
        inputs: int,
        channels: Count,
        norm: Norm | None,
        act: Activation,
        bias: bool | None,
        fuse: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.fuse, self.act = fuse(inputs), activation(act, channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = ConvNormAct(channels, channels, 1, norm=norm, act=None, bias=bias)

    def forward(self, inputs: list[Tensor]) -> Tensor:
        return self.pointwise(self.depthwise(self.act(self.fuse(inputs))))
