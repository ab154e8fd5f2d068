"""The neck of YOLOv2."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.dark import init_darknet
from detectors.structures import FeatureSpec


class Passthrough(nn.Module):
    """The coarsest level with the one before it folded in (YOLOv2, "Fine-Grained Features").

    `cfg/yolov2.cfg`, layers 23 to 29: two 3x3 convolutions on the coarsest level; an eighth of the
    finer level's channels by a 1x1 convolution, reordered to the coarse resolution; both
    concatenated, the finer level first; a 3x3 convolution. The 1x1 convolution that predicts
    belongs to the head. Levels finer than these two are not looked at.

    Raises:
        ValueError: the two levels do not lie a factor of 2 apart.
    """

    def __init__(
        self, specs: Sequence[FeatureSpec], norm: Norm | None, act: Activation | None
    ) -> None:
        super().__init__()
        fine, coarse = _two_coarsest(specs)
        channels = coarse.channels
        squeezed = -(-fine.channels // 32) * 4  # an eighth, in fours: 64 of Darknet-19's 512
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
            f"a passthrough needs two levels a factor of 2 apart, the backbone gives strides "
            f"{strides}: set part.levels=[16,32]"
        )
    return specs[-2], specs[-1]


def _padded(x: Tensor, height: int, width: int) -> Tensor:
    """`x` with zeros at the right and the bottom; as it is where the image fits the stride."""
    return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))


def reorg(x: Tensor) -> Tensor:
    """[B, C, H, W] to [B, 4 C, H / 2, W / 2] in the order of darknet's `[reorg]` layer.

    Not a space-to-depth: `reorg_cpu` (darknet `src/blas.c`) is called the wrong way round and takes
    the memory for C / 4 planes of 2 H x 2 W, so that two neighbouring rows count as one wide row.
    All released weights expect it. C is a multiple of 4, H and W are even.
    """
    batch, channels, height, width = x.shape
    wide = x.reshape(batch, channels // 4, height, 2, width, 2)
    return wide.permute(0, 3, 5, 1, 2, 4).reshape(batch, 4 * channels, height // 2, width // 2)
