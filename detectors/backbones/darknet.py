"""Darknet-53 and its thinner relatives."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.backbones.stages import Stages, check_strides
from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.dark import DarkBlock, init_darknet, vary_residuals
from detectors.ranges import Count, Share


class Darknet(Backbone):
    """A stem, then stages of one 3x3 convolution of stride 2 and some residual blocks.

    The defaults are Darknet-53 without its classifier (YOLOv3, Table 1; `cfg/yolov3.cfg`, layers
    0 to 74): 40,584,928 parameters. Stages coarser than the last stride are not built.

    Args:
        depths: residual blocks of each stage; stage i has stride 2 ** (i + 1).
        width: channels of the stem; every stage doubles them.
        strides: levels to return, rising.
        drop_path_rate, join: see `vary_residuals`.

    Raises:
        ValueError: a stride is not offered.
    """

    def __init__(
        self,
        norm: Norm | None,
        act: Activation | None,
        depths: Sequence[Count] = (1, 2, 8, 8, 4),
        width: Count = 32,
        strides: Sequence[Count] = (8, 16, 32),
        drop_path_rate: Share = 0.0,
        join: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        used = check_strides(strides, [2 ** (i + 1) for i in range(len(depths))], "Darknet")
        self.stem = ConvNormAct(3, width, 3, norm=norm, act=act)
        stages = {
            stride: _stage(width * stride, depth, norm, act)
            for stride, depth in zip(used, depths, strict=False)
        }
        self.stages = Stages(stages, [width * stride for stride in used], strides)
        self.specs = self.stages.specs
        init_darknet(self)
        vary_residuals(self.stages, drop_path_rate, join)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, H / stride, W / stride] per spec."""
        return self.stages(self.stem(images))


def _stage(channels: int, depth: int, norm: Norm | None, act: Activation | None) -> nn.Sequential:
    down = ConvNormAct(channels // 2, channels, 3, stride=2, norm=norm, act=act)
    return nn.Sequential(down, *(DarkBlock(channels, norm, act) for _ in range(depth)))
