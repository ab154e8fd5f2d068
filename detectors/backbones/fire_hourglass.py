"""Hourglasses of fire modules."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from detectors.backbones.hourglass import Hourglass, Hourglasses
from detectors.layers.conv import Activation, ConvNormAct, Norm, activation
from detectors.ranges import Count


class FireHourglass(Hourglasses):
    """A stem of stride 8, then hourglasses of fire modules; each gives a level of that stride.

    The defaults are CornerNet-Squeeze's (Law et al. 2019, "CornerNet-Lite", sec. 4; its
    `CornerNet_Squeeze.py`). Use head=corners_squeeze, as of `StackedHourglass`.

    Args:
        norm, act: of every convolution.
        stem: channels behind the first one, 7x7.
        widths: channels at each stride of an hourglass, from 8 on.
        depths: fire modules there.
        stacks: hourglasses.
    """

    def __init__(
        self,
        norm: Norm,
        act: Activation,
        stem: Count = 128,
        widths: Sequence[Count] = (256, 256, 384, 384, 512),
        depths: Sequence[Count] = (2, 2, 2, 2, 4),
        stacks: Count = 2,
    ) -> None:
        def block(before: int, after: int, stride: int) -> nn.Module:
            return Fire(before, after, stride, norm, act)

        make = partial(Hourglass, widths, depths, block, _double)
        super().__init__(make, stacks, [stem, widths[0], widths[0]], norm, act)


def _double(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)


class Fire(nn.Module):
    """Half as many channels, then a 1x1 convolution of these beside a depthwise 3x3 one.

    SqueezeNet's fire module (Iandola et al. 2016) as CornerNet-Lite has it: nothing but the norm
    stands behind the squeezing, and the input is added where sizes are alike.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, norm: Norm, act: Activation
    ) -> None:
        super().__init__()
        half = channels // 2
        self.squeeze = ConvNormAct(in_channels, half, 1, norm=norm, act=None)
        self.single = nn.Conv2d(half, half, 1, stride, bias=False)
        self.depthwise = nn.Conv2d(half, half, 3, stride, padding=1, groups=half, bias=False)
        self.norm = norm(channels)
        self.alike = stride == 1 and in_channels == channels
        self.act = activation(act, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, C, ceil(H / stride), ceil(W / stride)]."""
        small = self.squeeze(x)
        made = self.norm(torch.cat([self.single(small), self.depthwise(small)], dim=1))
        return self.act(made + x if self.alike else made)
