"""Blocks with a large receptive field: [B, C, H, W] -> [B, C, H, W]."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm, activation
from detectors.layers.pool import SpatialPyramid
from detectors.ranges import Count, Positive


def spp(
    channels: int,
    norm: Norm | None,
    act: Activation | None,
    pyramid: Callable[[], nn.Module] = SpatialPyramid,
) -> nn.Sequential:
    """A spatial pyramid between two 1x1 convolutions (YOLOv4, sec. 3.4; He et al. 2015).

    It has windows of 13, 9 and 5 cells and half the channels inside, as in `cfg/yolov4.cfg`, layers
    107 to 114.

    Args:
        pyramid: makes four times the channels: `SpatialPyramid` or the faster `StackedPyramid`.
    """
    half = channels // 2
    return nn.Sequential(
        ConvNormAct(channels, half, 1, norm=norm, act=act),
        pyramid(),
        ConvNormAct(4 * half, channels, 1, norm=norm, act=act),
    )


class ASPP(nn.Module):
    """Joins convolutions of several dilations and the mean of the image by a 1x1 convolution.

    DeepLabv3 (Chen et al. 2017), sec. 3.3 and fig. 5: a 1x1 convolution, a 3x3 convolution for each
    rate, and a 1x1 convolution of the global mean. The latter has no norm, because one value per
    image is too little for batch norm.

    Args:
        channels: of the input and the output.
        rates: dilations; 6, 12 and 18 in the paper, for a stride of 16.
        width: channels of each branch; 256 in the paper.
    """

    def __init__(
        self,
        channels: int,
        norm: Norm | None,
        act: Activation | None,
        rates: tuple[int, ...] = (6, 12, 18),
        width: Count = 256,
    ) -> None:
        super().__init__()
        self.point = ConvNormAct(channels, width, 1, norm=norm, act=act)
        self.holes = nn.ModuleList(_dilated(channels, width, rate, norm, act) for rate in rates)
        self.image = ConvNormAct(channels, width, 1, norm=None, act=act)
        self.merge = ConvNormAct((2 + len(rates)) * width, channels, 1, norm=norm, act=act)

    def forward(self, x: Tensor) -> Tensor:
        image = self.image(x.mean((-2, -1), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        return self.merge(torch.cat([self.point(x), *(hole(x) for hole in self.holes), image], 1))


class RFB(nn.Module):
    """Adds to its input a tenth of what three branches of growing kernel and dilation compute.

    Receptive field block, RFBNet (Liu et al. 2018), sec. 3.2 and fig. 4a: kernels of 1, 3 and 5
    (two of 3), followed by 3x3 convolutions of dilation 1, 3 and 5. Widths and the scale of 0.1 are
    those of the release (`models/RFB_Net_vgg.py`, class BasicRFB). Its shortcut is a 1x1
    convolution; here input and output have the same shape, so the shortcut is the input itself.

    Args:
        channels: of the input and the output.
        scale: factor of the branches' result.
    """

    def __init__(
        self, channels: int, norm: Norm | None, act: Activation, scale: Positive = 0.1
    ) -> None:
        super().__init__()
        narrow, self.scale = channels // 8, scale
        wide, between = 2 * narrow, 3 * narrow // 2
        paths = [[(wide, 1)], [(narrow, 1), (wide, 3)], [(narrow, 1), (between, 3), (wide, 3)]]
        self.branches = nn.ModuleList()
        for path, dilation in zip(paths, (1, 3, 5), strict=True):
            widths = [channels, *(width for width, _ in path)]
            convs = (
                ConvNormAct(before, width, kernel, norm=norm, act=act)
                for before, (width, kernel) in zip(widths, path, strict=False)
            )
            self.branches.append(nn.Sequential(*convs, _dilated(wide, wide, dilation, norm, None)))
        self.merge = ConvNormAct(3 * wide, channels, 1, norm=norm, act=None)
        self.act = activation(act, channels)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.merge(torch.cat([branch(x) for branch in self.branches], dim=1))
        return self.act(x + self.scale * mixed)


def _dilated(
    in_channels: int, channels: int, rate: int, norm: Norm | None, act: Activation | None
) -> ConvNormAct:
    """A dilated 3x3 convolution that keeps the size of the map."""
    layer = ConvNormAct(in_channels, channels, 3, norm=norm, act=act)
    layer.conv.dilation = layer.conv.padding = (rate, rate)
    return layer
