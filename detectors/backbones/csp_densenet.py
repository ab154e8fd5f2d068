"""DenseNet with cross stage partial stages."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.backbones.stages import Stages, check_strides
from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.dark import init_darknet
from detectors.layers.pool import DarkPool
from detectors.ranges import Count


class CSPDenseNet(Backbone):
    """A DenseNet in which half the channels of each stage go around its dense block.

    CSPNet (Wang et al. 2019), sec. 3.1, eq. 3, on darknet's DenseNet-201 (`cfg/densenet201.cfg`),
    whose stem, dense layers and transitions these are: 16,649,664 parameters. The authors released
    no file of their CSPDenseNet-201, and the paper does not give its widths. Ours: both transitions
    of a stage have the channels of the one that the file has there, and those of the last stage,
    where it has none, twice as many. Stages coarser than the last stride are not built.

    Args:
        depths: dense layers of each stage; stage i has stride 2 ** (i + 2).
        growth: channels that a dense layer adds; it squeezes its input to four times as many.
        width: even channels of the stem; every stage doubles them.
        strides: levels to return, rising.

    Raises:
        ValueError: a stride is not offered.
    """

    def __init__(
        self,
        norm: Norm | None,
        act: Activation | None,
        depths: Sequence[Count] = (6, 12, 48, 32),
        growth: Count = 32,
        width: Count = 64,
        strides: Sequence[Count] = (8, 16, 32),
    ) -> None:
        super().__init__()
        used = check_strides(strides, [2 ** (i + 2) for i in range(len(depths))], "CSPDenseNet")
        self.stem = ConvNormAct(3, width, 7, stride=2, norm=norm, act=act)
        channels = [width * stride // 2 for stride in used]
        before = pairwise([width, *channels])
        stages = {
            stride: nn.Sequential(DarkPool(2, 2), PartialDense(*sizes, depth, growth, norm, act))
            for stride, sizes, depth in zip(used, before, depths, strict=False)
        }
        self.stages = Stages(stages, channels, strides)
        self.specs = self.stages.specs
        init_darknet(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """One [B, channels, ceil(H / stride), ceil(W / stride)] per spec of [B, 3, H, W]."""
        return self.stages(self.stem(images))


class PartialDense(nn.Module):
    """A partial dense block and its two transitions: [B, in, H, W] -> [B, channels, H, W].

    The second half of the input passes the dense layers and the first transition; the second
    transition sees the first half and what comes of that.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        depth: int,
        growth: int,
        norm: Norm | None,
        act: Activation | None,
    ) -> None:
        super().__init__()
        half = in_channels // 2
        widths = [half + growth * index for index in range(depth + 1)]
        self.layers = nn.Sequential(*(Dense(into, growth, norm, act) for into in widths[:-1]))
        self.leave = ConvNormAct(widths[-1], channels, 1, norm=norm, act=act)
        self.merge = ConvNormAct(half + channels, channels, 1, norm=norm, act=act)

    def forward(self, x: Tensor) -> Tensor:
        aside, dense = x.chunk(2, dim=1)
        return self.merge(torch.cat([aside, self.leave(self.layers(dense))], dim=1))


class Dense(nn.Module):
    """Its input and behind it what a 1x1 and a 3x3 convolution make of that."""

    def __init__(
        self, in_channels: int, growth: int, norm: Norm | None, act: Activation | None
    ) -> None:
        super().__init__()
        self.squeeze = ConvNormAct(in_channels, 4 * growth, 1, norm=norm, act=act)
        self.grow = ConvNormAct(4 * growth, growth, 3, norm=norm, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, in_channels + growth, H, W]."""
        return torch.cat([x, self.grow(self.squeeze(x))], dim=1)
