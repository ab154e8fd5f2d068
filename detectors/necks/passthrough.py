"""The passthrough layer of YOLOv2."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.dark import init_darknet
from detectors.layers.folding import reorg
from detectors.necks import Neck
from detectors.structures import FeatureSpec


class Passthrough(Neck):
    """Folds the second coarsest level into the coarsest (YOLOv2, "Fine-Grained Features").

    `cfg/yolov2.cfg`, layers 23 to 29: the coarsest level passes through two 3x3 convolutions. A 1x1
    convolution reduces the finer level to an eighth of its channels, which are reordered to the
    coarse resolution. Both are concatenated, the finer level first, and pass through a 3x3
    convolution. The 1x1 convolution that predicts belongs to the head. Levels finer than these two
    are not used.

    Raises:
        ValueError: there is only one level, or the stride of the coarsest is not twice the next.
    """

    def __init__(
        self, specs: Sequence[FeatureSpec], norm: Norm | None, act: Activation | None
    ) -> None:
        super().__init__()
        fine, coarse = _two_coarsest(specs)
        channels = coarse.channels
        squeezed = -(-fine.channels // 32) * 4  # an eighth, a multiple of 4: 64 of Darknet-19's 512
        self.specs = [coarse]
        self.deepen = nn.Sequential(
            ConvNormAct(channels, channels, 3, norm=norm, act=act),
            ConvNormAct(channels, channels, 3, norm=norm, act=act),
        )
        self.squeeze = ConvNormAct(fine.channels, squeezed, 1, norm=norm, act=act)
        self.merge = ConvNormAct(4 * squeezed + channels, channels, 3, norm=norm, act=act)
        init_darknet(self)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        fine, coarse = features[-2:]
        height, width = coarse.shape[-2:]
        deep = self.deepen(coarse)  # before the squeeze, as in the cfg
        passed = _padded(self.squeeze(fine), 2 * height, 2 * width)
        return [self.merge(torch.cat([reorg(passed), deep], dim=1))]


def _two_coarsest(specs: Sequence[FeatureSpec]) -> tuple[FeatureSpec, FeatureSpec]:
    strides = [spec.stride for spec in specs]
    if len(specs) < 2 or strides[-1] != 2 * strides[-2]:
        raise ValueError(
            f"Passthrough needs two levels whose strides differ by a factor of 2, but the backbone "
            f"delivers strides {strides}: set part.levels=[16,32]"
        )
    return specs[-2], specs[-1]


def _padded(x: Tensor, height: int, width: int) -> Tensor:
    """`x` with zeros added right and below; unchanged if the image is a multiple of the stride."""
    return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))
