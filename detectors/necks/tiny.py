"""The top-down path of YOLOv3-tiny and YOLOv4-tiny."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.dark import init_darknet
from detectors.necks import Neck
from detectors.necks.extra_levels import check_rising
from detectors.structures import FeatureSpec


class TinyTopDown(Neck):
    """Concatenates the coarser level with each level and convolves the result once by 3x3.

    `cfg/yolov3-tiny.cfg`, layers 13, 14, 18 and 21; `cfg/yolov4-tiny.cfg`, layers 27, 28, 32 and
    35. A level keeps the channels that it has in the backbone, but the coarsest gets twice those
    of the next finer one: 256 and 512 in both networks. The predictions follow directly
    (tower=single).

    Raises:
        ValueError: there is only one level, or a stride is not larger than the one before.
    """

    def __init__(
        self, specs: Sequence[FeatureSpec], norm: Norm | None, act: Activation | None
    ) -> None:
        super().__init__()
        if len(specs) < 2:
            raise ValueError(
                f"TinyTopDown joins two or more feature levels, but the backbone delivers "
                f"{len(specs)}: ask for more, such as part.levels=[16,32]"
            )
        check_rising(specs, "TinyTopDown")
        *finer, coarsest = specs
        widths = [spec.channels for spec in finer]
        narrow = widths[-1]
        self.specs = [*finer, FeatureSpec(2 * narrow, coarsest.stride)]
        self.enter = ConvNormAct(coarsest.channels, narrow, 1, norm=norm, act=act)
        self.coarsest = ConvNormAct(narrow, 2 * narrow, 3, norm=norm, act=act)
        self.squeezes = nn.ModuleList(
            ConvNormAct(before, width // 2, 1, norm=norm, act=act)
            for before, width in zip([*widths[1:], narrow], widths, strict=True)
        )
        self.joins = nn.ModuleList(
            ConvNormAct(width // 2 + width, width, 3, norm=norm, act=act) for width in widths
        )
        init_darknet(self)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        level = self.enter(features[-1])
        outputs = [self.coarsest(level)]
        for i in reversed(range(len(self.joins))):
            coarser = F.interpolate(self.squeezes[i](level), size=features[i].shape[-2:])
            level = self.joins[i](torch.cat([coarser, features[i]], dim=1))
            outputs.insert(0, level)
        return outputs
