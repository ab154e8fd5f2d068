"""VGG-16 as SSD uses it."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.l2norm import ScaledL2Norm
from detectors.structures import FeatureSpec


class AtrousVGG(nn.Module):
    """Five stages of 3x3 convolutions, then fc6 as a 3x3 one with holes and fc7 as a 1x1 one.

    The defaults are VGG-16, sub-sampled as in DeepLab (SSD, sec. 3 "Base network"); pool5 is 3x3 of
    stride 1. Returned are conv4_3, normalised, of stride 8, and fc7, of stride 16. Pools round up,
    so that 300 pixels become 38 cells as in the paper.

    Args:
        norm: behind every convolution, which then has no bias; VGG has none.
        act: behind that.
        widths, depths: channels and convolutions of each stage.
        hidden: channels of fc6 and fc7.
    """

    def __init__(
        self,
        norm: Norm | None,
        act: Activation,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        depths: Sequence[int] = (2, 2, 3, 3, 3),
        hidden: int = 1024,
    ) -> None:
        super().__init__()
        entering = [3, *widths[:-1]]
        self.stages = nn.ModuleList(
            _stage(before, width, depth, norm, act)
            for before, width, depth in zip(entering, widths, depths, strict=True)
        )
        self.l2norm = ScaledL2Norm(widths[3])
        self.fc6 = ConvNormAct(widths[4], hidden, 3, norm=norm, act=act)
        self.fc6.conv.dilation = self.fc6.conv.padding = (6, 6)
        self.fc7 = ConvNormAct(hidden, hidden, 1, norm=norm, act=act)
        self.specs = [FeatureSpec(widths[3], 8), FeatureSpec(hidden, 16)]
        _init(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, H / stride, W / stride] per spec."""
        x = self.stages[0](images)
        for stage in self.stages[1:4]:
            x = stage(F.max_pool2d(x, 2, ceil_mode=True))
        conv4_3 = x
        x = self.stages[4](F.max_pool2d(x, 2, ceil_mode=True))
        x = F.max_pool2d(x, 3, stride=1, padding=1)
        return [self.l2norm(conv4_3), self.fc7(self.fc6(x))]


def _stage(
    in_channels: int, channels: int, depth: int, norm: Norm | None, act: Activation
) -> nn.Sequential:
    widths = [in_channels] + [channels] * (depth - 1)
    return nn.Sequential(*(ConvNormAct(width, channels, 3, norm=norm, act=act) for width in widths))


def _init(vgg: AtrousVGG) -> None:
    """Stages for rectifiers (He et al. 2015, sec. 2.2), fc6 and fc7 Xavier as in SSD's script."""
    for layer in vgg.stages.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    for fc in (vgg.fc6, vgg.fc7):
        nn.init.xavier_uniform_(fc.conv.weight)
    for layer in vgg.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
