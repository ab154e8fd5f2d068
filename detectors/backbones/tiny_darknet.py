"""The backbones of YOLOv3-tiny and YOLOv4-tiny."""

from collections.abc import Sequence

from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.backbones.stages import Stages, check_strides
from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.csp import TinyCSPStage
from detectors.layers.dark import init_darknet
from detectors.layers.pool import DarkPool
from detectors.ranges import Count
from detectors.structures import FeatureSpec


class TinyDarknet(Backbone):
    """One 3x3 convolution on each level, pooling between them, two convolutions at stride 32.

    `cfg/yolov3-tiny.cfg`, layers 0 to 12. The last pooling has stride 1 and looks to the right and
    below only.

    Args:
        width: channels of the first convolution, every next one doubles them; 16 as published.
        strides: levels to return, rising, out of 2, 4, 8, 16 and 32.

    Raises:
        ValueError: a stride is not offered.
    """

    def __init__(
        self,
        norm: Norm | None,
        act: Activation | None,
        width: Count = 16,
        strides: Sequence[Count] = (16, 32),
    ) -> None:
        super().__init__()
        used = check_strides(strides, [2, 4, 8, 16, 32], "TinyDarknet")
        self.stem = ConvNormAct(3, width, 3, norm=norm, act=act)
        stages = {stride: _pooled(width * stride // 2, norm, act) for stride in used}
        channels = [width * stride for stride in used]
        if 32 in stages:
            last = ConvNormAct(channels[-1], 2 * channels[-1], 3, norm=norm, act=act)
            stages[32] = nn.Sequential(stages[32], DarkPool(2, stride=1), last)
            channels[-1] *= 2
        self.stages = Stages(stages, channels, strides)
        self.specs = self.stages.specs
        init_darknet(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, H / stride, W / stride] per spec."""
        return self.stages(self.stem(images))


def _pooled(in_channels: int, norm: Norm | None, act: Activation | None) -> nn.Sequential:
    double = ConvNormAct(in_channels, 2 * in_channels, 3, norm=norm, act=act)
    return nn.Sequential(DarkPool(2, stride=2), double)


class TinyCSPDarknet(Backbone):
    """Two convolutions of stride 2, three partial stages, one convolution.

    `cfg/yolov4-tiny.cfg`, layers 0 to 26.

    Args:
        width: channels of the first convolution; 32 as published.
        strides: levels to return, rising, out of 4, 8, 16 and 32.

    Raises:
        ValueError: a stride is not offered.
    """

    def __init__(
        self,
        norm: Norm | None,
        act: Activation | None,
        width: Count = 32,
        strides: Sequence[Count] = (16, 32),
    ) -> None:
        super().__init__()
        used = check_strides(strides, [4, 8, 16, 32], "TinyCSPDarknet")
        self.specs = [FeatureSpec(width * stride // 2, stride) for stride in strides]
        self.strides = list(strides)
        self.stem = nn.Sequential(
            ConvNormAct(3, width, 3, stride=2, norm=norm, act=act),
            ConvNormAct(width, 2 * width, 3, stride=2, norm=norm, act=act),
        )
        self.pool = DarkPool(2, stride=2)
        # A stage hands on twice its channels.
        self.stages = nn.ModuleList(
            TinyCSPStage(width * stride // 2, width * stride // 2, norm, act)
            for stride in used
            if stride < 32
        )
        if used[-1] == 32:
            self.last = ConvNormAct(width * 16, width * 16, 3, norm=norm, act=act)
        init_darknet(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, H / stride, W / stride] per spec."""
        x = self.stem(images)
        levels = {}
        for i, stage in enumerate(self.stages):
            x, levels[4 * 2**i] = stage(x if i == 0 else self.pool(x))
        if 32 in self.strides:
            levels[32] = self.last(self.pool(x))
        return [levels[stride] for stride in self.strides]
