"""Stacked hourglasses."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.layers.conv import Activation, ConvNormAct, Norm, activation
from detectors.ranges import Count
from detectors.structures import FeatureSpec


class Hourglasses(Backbone):
    """A stem, then hourglasses, each of which gives a level of the stem's stride.

    Args:
        hourglass: makes one.
        stacks: how many.
        widths: channels of the stem behind each of its halvings, of which the first is a 7x7
            convolution and the others are residual blocks; the last are those of the levels.
        norm, act: of every convolution here.
    """

    def __init__(
        self,
        hourglass: Callable[[], nn.Module],
        stacks: int,
        widths: Sequence[int],
        norm: Norm,
        act: Activation,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvNormAct(3, widths[0], 7, stride=2, norm=norm, act=act),
            *(Residual(before, after, 2, norm, act) for before, after in pairwise(widths)),
        )
        width = widths[-1]
        self.hourglasses = nn.ModuleList(hourglass() for _ in range(stacks))
        self.outputs = nn.ModuleList(
            ConvNormAct(width, width, 3, norm=norm, act=act) for _ in range(stacks)
        )
        self.joints = nn.ModuleList(Joint(width, norm, act) for _ in range(stacks - 1))
        self.specs = [FeatureSpec(width, 2 ** len(widths))] * stacks

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, H / stride, W / stride] per stack.

        What enters an hourglass is a mixture of what entered the one before and of its output.
        """
        x = self.stem(images)
        features = [self.outputs[0](self.hourglasses[0](x))]
        further = zip(self.joints, self.hourglasses[1:], self.outputs[1:], strict=True)
        for joint, hourglass, output in further:
            x = joint(x, features[-1])
            features.append(output(hourglass(x)))
        return features


class StackedHourglass(Hourglasses):
    """A stem of stride 4, then hourglasses; each gives a level of that stride.

    The defaults are Hourglass-104 (CornerNet, sec. 3.5; CenterNet's `networks/large_hourglass.py`).
    The levels do not differ in stride but in how often they were looked at: use head=stacked.

    Args:
        norm, act: of every convolution.
        stem: channels behind the first one, 7x7.
        widths: channels at each stride of an hourglass, from 4 on.
        depths: residual blocks there.
        stacks: hourglasses.
    """

    def __init__(
        self,
        norm: Norm,
        act: Activation,
        stem: Count = 128,
        widths: Sequence[Count] = (256, 256, 384, 384, 384, 512),
        depths: Sequence[Count] = (2, 2, 2, 2, 2, 4),
        stacks: Count = 2,
    ) -> None:
        def block(before: int, after: int, stride: int) -> nn.Module:
            return Residual(before, after, stride, norm, act)

        make = partial(Hourglass, widths, depths, block)
        super().__init__(make, stacks, [stem, widths[0]], norm, act)


Block = Callable[[int, int, int], nn.Module]  # channels before and behind, and the stride


class Hourglass(nn.Module):
    """Down to a half, another hourglass there, up again, plus what stayed in full size.

    Args:
        widths: channels here and at each half further down.
        depths: blocks at each of them.
        block: makes a block.
        upsample: makes what doubles the size on the way up, `(channels)`; each cell four times if
            None.
    """

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        block: Block,
        upsample: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        (width, inner), depth = widths[:2], depths[0]
        self.stay = _blocks([width] * (depth + 1), block)
        self.down = nn.Sequential(block(width, inner, 2), _blocks([inner] * depth, block))
        self.middle: nn.Module = (
            Hourglass(widths[1:], depths[1:], block, upsample)
            if len(widths) > 2
            else _blocks([inner] * (depths[1] + 1), block)
        )
        self.up = _blocks([inner] * depth + [width], block)
        self.upsample = None if upsample is None else upsample(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] alike."""
        height, width = x.shape[-2:]
        small = self.up(self.middle(self.down(x)))
        if self.upsample is None:
            return self.stay(x) + F.interpolate(small, size=(height, width))
        return self.stay(x) + self.upsample(small)[..., :height, :width]  # less where sizes are odd


class Joint(nn.Module):
    """What enters the next hourglass: the input of the last one and its output, mixed."""

    def __init__(self, width: int, norm: Norm, act: Activation) -> None:
        super().__init__()
        self.before = ConvNormAct(width, width, 1, norm=norm, act=None)
        self.after = ConvNormAct(width, width, 1, norm=norm, act=None)
        self.act = activation(act, width)
        self.block = Residual(width, width, 1, norm, act)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        return self.block(self.act(self.before(before) + self.after(after)))


class Residual(nn.Module):
    """Two 3x3 convolutions plus the input, which a 1x1 one fits where sizes differ."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, norm: Norm, act: Activation
    ) -> None:
        super().__init__()
        self.first = ConvNormAct(in_channels, channels, 3, stride, norm=norm, act=act)
        self.second = ConvNormAct(channels, channels, 3, norm=norm, act=None)
        alike = stride == 1 and in_channels == channels
        self.skip: nn.Module = (
            nn.Identity()
            if alike
            else ConvNormAct(in_channels, channels, 1, stride, norm=norm, act=None)
        )
        self.act = activation(act, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.second(self.first(x)) + self.skip(x))


def _blocks(widths: Sequence[int], block: Block) -> nn.Sequential:
    """A block between each two widths."""
    return nn.Sequential(*(block(before, after, 1) for before, after in pairwise(widths)))
