"""The path aggregation network of YOLOX."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm, spatial
from detectors.layers.csp import CSPBlock
from detectors.necks import Neck
from detectors.necks.extra_levels import check_doubling
from detectors.ranges import Positive
from detectors.structures import FeatureSpec


class CSPPAN(Neck):
    """A path from coarse to fine, then one back; a `CSPBlock` without sums follows each meeting.

    YOLOX's PAFPN (Ge et al. 2021, sec. 2.2; released `yolo_pafpn.py`). On the way down the coarser
    level, reduced by 1x1, meets the backbone's; on the way up the finer level, reduced by 3x3 of
    stride 2, meets what was reduced by 1x1. In both the level that changed its size comes first.
    Weights start as torch has them.

    Args:
        depth: a `CSPBlock` has `max(round(3 depth), 1)` blocks.
        depthwise: whether 3x3 convolutions are separable (YOLOX-Nano).
        channels: of every output level; None: as many as in the backbone.

    Raises:
        ValueError: there is only one level, or a stride is not twice the one before.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        norm: Norm | None,
        act: Activation | None,
        depth: Positive = 1.0,
        depthwise: bool = False,
        channels: int | None = None,
    ) -> None:
        super().__init__()
        check_doubling(specs, "CSPPAN")
        self.specs = [FeatureSpec(channels or spec.channels, spec.stride) for spec in specs]
        widths = [spec.channels for spec in self.specs]
        steps, conv = list(pairwise(widths)), spatial(depthwise)

        def block(entering: int, leaving: int) -> CSPBlock:
            blocks = max(round(3 * depth), 1)
            return CSPBlock(entering, leaving, blocks, norm, act, False, depthwise)

        coming = [*widths[1:-1], specs[-1].channels]
        self.squeezes = nn.ModuleList(
            ConvNormAct(before, finer, 1, norm=norm, act=act)
            for before, finer in zip(coming, widths[:-1], strict=True)
        )
        self.top_down = nn.ModuleList(
            block(width + spec.channels, width)
            for width, spec in zip(widths[:-1], specs[:-1], strict=True)
        )
        self.reductions = nn.ModuleList(
            conv(finer, finer, 3, stride=2, norm=norm, act=act) for finer, _ in steps
        )
        self.bottom_up = nn.ModuleList(block(2 * finer, coarser) for finer, coarser in steps)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        level = features[-1]
        squeezed: list[Tensor] = []
        for i in reversed(range(len(self.squeezes))):
            squeezed.insert(0, self.squeezes[i](level))
            coarser = F.interpolate(squeezed[0], size=features[i].shape[-2:])
            level = self.top_down[i](torch.cat([coarser, features[i]], dim=1))
        outputs = [level]
        for reduction, join, level in zip(self.reductions, self.bottom_up, squeezed, strict=True):
            outputs.append(join(torch.cat([reduction(outputs[-1]), level], dim=1)))
        return outputs
