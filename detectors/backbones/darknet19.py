"""Darknet-19, the backbone of YOLOv2."""

from collections.abc import Sequence

from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.backbones.stages import Stages, check_strides
from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.dark import init_darknet
from detectors.ranges import Count

# Convolutions of each stage; they alternate 3x3 and 1x1, and a 1x1 halves the channels.
DEPTHS = {1: 1, 2: 1, 4: 3, 8: 3, 16: 5, 32: 5}


class Darknet19(Backbone):
    """Six stages of convolutions with 2x2 max-pooling between them.

    The defaults are Darknet-19 without its classifier (YOLOv2, Table 6; `cfg/darknet19.cfg`, the
    layers 0 to 22 of `cfg/yolov2.cfg`): 19,817,376 parameters. A level is what its stage ends in,
    before it is pooled. Stages coarser than the last stride are not built.

    Args:
        width: channels of the first stage; every stage doubles them.
        strides: levels to return, rising.

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
        used = check_strides(strides, list(DEPTHS), "Darknet19")
        stages = {stride: _stage(width * stride, stride, norm, act) for stride in used}
        self.stages = Stages(stages, [width * stride for stride in used], strides)
        self.specs = self.stages.specs
        init_darknet(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, H / stride, W / stride] per spec."""
        return self.stages(images)


def _stage(channels: int, stride: int, norm: Norm | None, act: Activation | None) -> nn.Sequential:
    """Pooling, but for the first stage, and as many convolutions as the stage has."""
    # darknet pads on the right and at the bottom, so an odd side is rounded up.
    layers: list[nn.Module] = [] if stride == 1 else [nn.MaxPool2d(2, ceil_mode=True)]
    entering = 3 if stride == 1 else channels // 2
    for index in range(DEPTHS[stride]):
        kernel, leaving = (3, channels) if index % 2 == 0 else (1, channels // 2)
        layers.append(ConvNormAct(entering, leaving, kernel, norm=norm, act=act))
        entering = leaving
    return nn.Sequential(*layers)
