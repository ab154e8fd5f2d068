"""The path aggregation network, or PAN, of YOLOv4."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.dark import five_set, init_darknet
from detectors.necks import Neck
from detectors.necks.extra_levels import check_doubling
from detectors.structures import FeatureSpec


class PAN(Neck):
    """A path from coarse to fine, then one back; levels are concatenated, not added.

    YOLOv4, sec. 3.4 and fig. 6; `cfg/yolov4.cfg`, layers 105 to 136, 141 to 147 and 152 to 158. In
    each concatenation of the first path the lateral comes first, in those of the second path the
    reduced finer level. By default a level has half the channels that it has in the backbone: 128,
    256 and 512 on CSPDarknet-53. The 3x3 convolution that follows each level there belongs to the
    head.

    Args:
        coarsest: `(channels, width, norm, act) -> module` for the coarsest level, before the paths;
            `layers.pool.pyramid_set` in YOLOv4.
        channels: of every output level; None: half of the backbone's.

    Raises:
        ValueError: a stride is not twice the one before.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        norm: Norm | None,
        act: Activation | None,
        coarsest: Callable[..., nn.Module],
        channels: int | None = None,
    ) -> None:
        super().__init__()
        if len(specs) > 1:
            check_doubling(specs, "PAN")
        self.specs = [FeatureSpec(channels or spec.channels // 2, spec.stride) for spec in specs]
        widths = [spec.channels for spec in self.specs]
        steps = list(pairwise(widths))
        self.enter = coarsest(specs[-1].channels, widths[-1], norm, act)
        self.squeezes = nn.ModuleList(
            ConvNormAct(coarser, finer, 1, norm=norm, act=act) for finer, coarser in steps
        )
        self.laterals = nn.ModuleList(
            ConvNormAct(spec.channels, width, 1, norm=norm, act=act)
            for spec, width in zip(specs[:-1], widths[:-1], strict=True)
        )
        self.top_down = nn.ModuleList(five_set(2 * w, w, norm, act) for w in widths[:-1])
        self.reductions = nn.ModuleList(
            ConvNormAct(finer, coarser, 3, stride=2, norm=norm, act=act) for finer, coarser in steps
        )
        self.bottom_up = nn.ModuleList(five_set(2 * w, w, norm, act) for w in widths[1:])
        init_darknet(self)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        levels = [self.enter(features[-1])]
        for i in reversed(range(len(self.squeezes))):
            coarser = F.interpolate(self.squeezes[i](levels[0]), size=features[i].shape[-2:])
            side = self.laterals[i](features[i])
            levels.insert(0, self.top_down[i](torch.cat([side, coarser], dim=1)))
        outputs = levels[:1]
        for reduction, join, level in zip(self.reductions, self.bottom_up, levels[1:], strict=True):
            outputs.append(join(torch.cat([reduction(outputs[-1]), level], dim=1)))
        return outputs
