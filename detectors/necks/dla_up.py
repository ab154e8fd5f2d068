"""Iterative deep aggregation with deformable convolutions, for CenterNet on DLA."""

from collections.abc import Sequence

from torch import Tensor, nn

from detectors.layers.conv import Activation, Norm, activation
from detectors.layers.deformable import DeformableConv, bilinear_init
from detectors.necks import Neck
from detectors.structures import FeatureSpec


class DLAUp(Neck):
    """Merges all levels into one of the finest stride.

    CenterNet (Zhou et al. 2019), appendix A and `networks/pose_dla_dcn.py`, classes DLAUp and
    DLASeg. Starting from the coarsest level, each ladder takes in one finer level and brings all
    coarser ones to its size. A last ladder merges the most refined map of every stride but the
    coarsest.

    Args:
        specs: levels of the backbone, finest first; each stride is twice the one before.
        norm, act: follow every deformable convolution.
    """

    def __init__(self, specs: Sequence[FeatureSpec], norm: Norm, act: Activation) -> None:
        super().__init__()
        widths = [spec.channels for spec in specs]
        strides = [spec.stride for spec in specs]
        self.ladders = nn.ModuleList()
        entering, at = list(widths), list(strides)
        for start in reversed(range(len(specs) - 1)):
            self.ladders.append(Ladder(entering[start:], at[start:], norm, act))
            entering[start:] = [widths[start]] * len(entering[start:])
            at[start:] = [strides[start]] * len(at[start:])
        self.last = Ladder(widths[:-1], strides[:-1], norm, act)
        self.specs = [specs[0]]

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        levels = list(features)
        merged: list[Tensor] = []
        for start, ladder in zip(reversed(range(len(levels) - 1)), self.ladders, strict=True):
            levels[start:] = ladder(levels[start:])
            merged.insert(0, levels[-1])
        return [self.last(merged)[-1]]


class Ladder(nn.Module):
    """Brings each level to the first one's width and size, and mixes it with the one before.

    Class IDAUp of the release. The levels are enlarged by depthwise transposed convolutions, which
    start as bilinear interpolation.

    Args:
        widths, strides: channels and stride of each input level, finest first.
        norm, act: follow every deformable convolution.
    """

    def __init__(
        self, widths: Sequence[int], strides: Sequence[int], norm: Norm, act: Activation
    ) -> None:
        super().__init__()
        width, factors = widths[0], [stride // strides[0] for stride in strides[1:]]
        self.project = nn.ModuleList(_mix(before, width, norm, act) for before in widths[1:])
        self.enlarge = nn.ModuleList(_enlarge(width, factor) for factor in factors)
        self.node = nn.ModuleList(_mix(width, width, norm, act) for _ in factors)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """The first level unchanged, then the mixture after each further level."""
        outputs = levels[:1]
        height, width = levels[0].shape[-2:]
        steps = zip(self.project, self.enlarge, self.node, levels[1:], strict=True)
        for project, enlarge, node, level in steps:
            larger = enlarge(project(level))[..., :height, :width]
            outputs.append(node(larger + outputs[-1]))
        return outputs


def _mix(in_channels: int, channels: int, norm: Norm, act: Activation) -> nn.Sequential:
    return nn.Sequential(
        DeformableConv(in_channels, channels), norm(channels), activation(act, channels)
    )


def _enlarge(channels: int, factor: int) -> nn.ConvTranspose2d:
    deconv = nn.ConvTranspose2d(
        channels,
        channels,
        2 * factor,
        stride=factor,
        padding=factor // 2,
        groups=channels,
        bias=False,
    )
    bilinear_init(deconv)
    return deconv
