"""The top-down path of YOLOv3."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.dark import five_set, init_darknet
from detectors.necks import Neck
from detectors.necks.extra_levels import check_rising
from detectors.structures import FeatureSpec


class TopDown(Neck):
    """Concatenates the coarser level with each level and applies a set of five convolutions.

    `cfg/yolov3.cfg`, layers 75 to 79, 83 to 91 and 95 to 103. A level has half the channels that it
    has in the backbone: 128, 256 and 512 on Darknet-53. The 3x3 convolution that follows each level
    there belongs to the head.

    Args:
        coarsest: `(channels, width, norm, act) -> module`, the set of the coarsest level;
            `layers.pool.pyramid_set` in YOLOv3-SPP.

    Raises:
        ValueError: a stride is not larger than the one before.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        norm: Norm | None,
        act: Activation | None,
        coarsest: Callable[..., nn.Module] = five_set,
    ) -> None:
        super().__init__()
        check_rising(specs, "TopDown")
        self.specs = [FeatureSpec(spec.channels // 2, spec.stride) for spec in specs]
        widths = [spec.channels for spec in self.specs]
        self.squeezes = nn.ModuleList(
            ConvNormAct(coarser, finer, 1, norm=norm, act=act)
            for finer, coarser in pairwise(widths)
        )
        entering = [width + spec.channels for width, spec in zip(widths, specs, strict=True)]
        entering[-1] = specs[-1].channels
        kinds = [five_set] * (len(specs) - 1) + [coarsest]
        self.sets = nn.ModuleList(
            kind(channels, width, norm, act)
            for kind, channels, width in zip(kinds, entering, widths, strict=True)
        )
        init_darknet(self)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        outputs = [self.sets[-1](features[-1])]
        for i in reversed(range(len(self.squeezes))):
            coarser = F.interpolate(self.squeezes[i](outputs[0]), size=features[i].shape[-2:])
            outputs.insert(0, self.sets[i](torch.cat([coarser, features[i]], dim=1)))
        return outputs
