"""Blocks that look far around each cell: [B, C, H, W] -> [B, C, H, W]."""

import torch
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm, activation
from detectors.layers.pool import SpatialPyramid


def spp(channels: int, norm: Norm | None, act: Activation | None) -> nn.Sequential:
    """A spatial pyramid between two 1x1 convolutions (YOLOv4, sec. 3.4; He et al. 2015).

    Windows of 13, 9 and 5 cells and half the channels inside, as `cfg/yolov4.cfg`, layers 107 to
    114.
    """
    half = channels // 2
    return nn.Sequential(
        ConvNormAct(channels, half, 1, norm=norm, act=act),
        SpatialPyramid(),
        ConvNormAct(4 * half, channels, 1, norm=norm, act=act),
    )


class ASPP(nn.Module):
    """Convolutions of several dilations and the mean of the image, joined by a 1x1 convolution.

    DeepLabv3 (Chen et al. 2017), sec. 3.3 and fig. 5: a 1x1, 3x3 of each rate, and the global mean
    through a 1x1. There is no norm behind the last of these, because one value a picture is too
    little for batch norm.

    Args:
        channels: in and out.
        rates: dilations; 6, 12 and 18 in the paper, for a stride of 16.
        width: channels of each branch; 256 in the paper.
    """

    def __init__(
        self,
        channels: int,
        norm: Norm | None,
        act: Activation | None,
        rates: tuple[int, ...] = (6, 12, 18),
        width: int = 256,
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
    """Three branches of growing kernel and dilation, a tenth of their mixture added to the input.

    Receptive field block, RFBNet (Liu et al. 2018), sec. 3.2 and fig. 4a: kernels of 1, 3 and 5
    (two of 3), each followed by a 3x3 convolution of dilation 1, 3 and 5. Widths and the scale of
    0.1 are those of the release (`models/RFB_Net_vgg.py`, class BasicRFB), whose shortcut is a 1x1
    convolution; here input and output are alike, so it is the input itself.

    Args:
        channels: in and out.
        scale: of the mixture.
    """

    def __init__(
        self, channels: int, norm: Norm | None, act: Activation, scale: float = 0.1
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
    """A 3x3 convolution with holes, map size unchanged."""
    layer = ConvNormAct(in_channels, channels, 3, norm=norm, act=act)
    layer.conv.dilation = layer.conv.padding = (rate, rate)
    return layer
