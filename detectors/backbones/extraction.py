"""The backbone of YOLOv1, which darknet calls Extraction when it classifies images."""

from collections.abc import Sequence
from itertools import chain

from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.backbones.stages import Stages, check_strides
from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.ranges import Count

# Convolutions of each stage as (kernel, channels in multiples of the width, stride).
STAGES = {
    2: [(7, 1, 2)],
    4: [(3, 3, 1)],
    8: [(1, 2, 1), (3, 4, 1), (1, 4, 1), (3, 8, 1)],
    16: [(1, 4, 1), (3, 8, 1)] * 4 + [(1, 8, 1), (3, 16, 1)],
    32: [(1, 8, 1), (3, 16, 1)] * 2,  # the 20 convolutions that ImageNet trains end here
    64: [(3, 16, 1), (3, 16, 2), (3, 16, 1), (3, 16, 1)],
}
POOLED = (4, 8, 16, 32)  # stages that begin with 2x2 max-pooling


class Extraction(Backbone):
    """The 24 convolutions of YOLOv1 (Fig. 3), with max-pooling between the first five stages.

    The paper has no batch norm (`norm: null`), `cfg/yolov1/yolo.cfg` has it everywhere. A level is
    what its stage ends in, before it is pooled. Stages coarser than the last stride are not built.

    Args:
        width: channels of the first convolution.
        strides: levels to return, rising.

    Raises:
        ValueError: a stride is not offered.
    """

    def __init__(
        self,
        norm: Norm | None,
        act: Activation | None,
        width: Count = 64,
        strides: Sequence[Count] = (64,),
    ) -> None:
        super().__init__()
        used = check_strides(strides, list(STAGES), "Extraction")
        leaving = [width * STAGES[stride][-1][1] for stride in used]
        stages = {
            stride: _stage(channels, stride, width, norm, act)
            for channels, stride in zip([3, *leaving], used, strict=False)
        }
        self.stages = Stages(stages, leaving, strides)
        self.specs = self.stages.specs
        _init(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, H / stride, W / stride] per spec."""
        return self.stages(images)


def _stage(
    entering: int, stride: int, width: Count, norm: Norm | None, act: Activation | None
) -> nn.Sequential:
    # darknet pads on the right and at the bottom, so an odd side is rounded up.
    pool = [nn.MaxPool2d(2, ceil_mode=True)] if stride in POOLED else []
    layers = STAGES[stride]
    channels = [entering, *(width * multiple for _, multiple, _ in layers)]
    convs = (
        ConvNormAct(before, after, kernel, step, norm=norm, act=act)
        for before, after, (kernel, _, step) in zip(channels, channels[1:], layers, strict=False)
    )
    return nn.Sequential(*chain(pool, convs))


def _init(module: nn.Module) -> None:
    """Draw every convolution from a normal distribution of variance 2 / fan in.

    As pjreddie's later `src/convolutional_layer.c`. The uniform draw of the other backbones has a
    third of that variance, and 24 layers without batch norm would leave nothing of a signal.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=(2 / layer.weight[0].numel()) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
