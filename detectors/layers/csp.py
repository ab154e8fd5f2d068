"""Cross stage partial blocks, which process only some of the features (Wang et al. 2019)."""

import torch
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm, spatial
from detectors.layers.dark import DarkBlock


class CSPStage(nn.Module):
    """Halves the size, then runs residual blocks on one of two branches.

    `cfg/yolov4.cfg`, layers 11 to 23: both branches start with a 1x1 convolution of the same input,
    and the processed one comes first when they are concatenated. The children have the order of
    the file.

    Args:
        in_channels, channels: of the input and the output.
        depth: number of residual blocks.
        split: channels of each branch.
        hidden: channels inside a block.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        depth: int,
        split: int,
        hidden: int,
        norm: Norm | None,
        act: Activation | None,
    ) -> None:
        super().__init__()
        self.down = ConvNormAct(in_channels, channels, 3, stride=2, norm=norm, act=act)
        self.aside = ConvNormAct(channels, split, 1, norm=norm, act=act)
        self.enter = ConvNormAct(channels, split, 1, norm=norm, act=act)
        self.blocks = nn.Sequential(*(DarkBlock(split, norm, act, hidden) for _ in range(depth)))
        self.leave = ConvNormAct(split, split, 1, norm=norm, act=act)
        self.merge = ConvNormAct(2 * split, channels, 1, norm=norm, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, channels, ceil(H / 2), ceil(W / 2)]."""
        x = self.down(x)
        processed = self.leave(self.blocks(self.enter(x)))
        return self.merge(torch.cat([processed, self.aside(x)], dim=1))


class TinyCSPStage(nn.Module):
    """Three 3x3 convolutions, the last two on the second half of the channels.

    `cfg/yolov4-tiny.cfg`, layers 2 to 8. The concatenated result goes to the next stage; a neck
    reads its second half.
    """

    def __init__(
        self, in_channels: int, channels: int, norm: Norm | None, act: Activation | None
    ) -> None:
        super().__init__()
        half = channels // 2
        self.whole = ConvNormAct(in_channels, channels, 3, norm=norm, act=act)
        self.first = ConvNormAct(half, half, 3, norm=norm, act=act)
        self.second = ConvNormAct(half, half, 3, norm=norm, act=act)
        self.merge = ConvNormAct(channels, channels, 1, norm=norm, act=act)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 2 channels, H, W] for the next stage and [B, channels, H, W] for a neck."""
        whole = self.whole(x)
        first = self.first(whole.chunk(2, dim=1)[1])
        merged = self.merge(torch.cat([self.second(first), first], dim=1))
        return torch.cat([whole, merged], dim=1), merged


class CSPBlock(nn.Module):
    """Blocks on one of two branches of half the channels, between three 1x1 convolutions.

    YOLOX's `CSPLayer` (released `network_blocks.py`). Unlike `CSPStage` it keeps the size, and no
    convolution follows the blocks before the branches meet.

    Args:
        in_channels, channels: of the input and the output.
        depth: number of blocks, each a 1x1 and a 3x3 convolution of the branch's width.
        residual: whether a block adds its input.
        depthwise: whether the 3x3 convolutions are separable.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        depth: int,
        norm: Norm | None,
        act: Activation | None,
        residual: bool = True,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        half = channels // 2
        kind = DarkBlock if residual else PlainBlock
        self.enter = ConvNormAct(in_channels, half, 1, norm=norm, act=act)
        self.aside = ConvNormAct(in_channels, half, 1, norm=norm, act=act)
        self.blocks = nn.Sequential(*(kind(half, norm, act, half, depthwise) for _ in range(depth)))
        self.merge = ConvNormAct(2 * half, channels, 1, norm=norm, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, channels, H, W]."""
        return self.merge(torch.cat([self.blocks(self.enter(x)), self.aside(x)], dim=1))


class PlainBlock(nn.Sequential):
    """The two convolutions of a `DarkBlock` without the sum; made with the same arguments."""

    def __init__(
        self,
        channels: int,
        norm: Norm | None,
        act: Activation | None,
        hidden: int,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.squeeze = ConvNormAct(channels, hidden, 1, norm=norm, act=act)
        self.expand = spatial(depthwise)(hidden, channels, 3, norm=norm, act=act)
