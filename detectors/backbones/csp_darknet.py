"""CSPDarknet-53 and its thinner relatives."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.backbones.stages import ResidualStages, Stages, check_strides
from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.csp import CSPStage
from detectors.layers.dark import init_darknet, vary_residuals
from detectors.ranges import Count, Share


class CSPDarknet(Backbone):
    """Darknet with cross stage partial stages.

    The defaults are CSPDarknet-53 without its classifier (YOLOv4, sec. 3.4; `cfg/yolov4.cfg`,
    layers 0 to 104): 26,617,184 parameters. A stage's branches have half its channels; the first
    stage's have all of them, and its blocks are narrower inside. Stages coarser than the last
    stride are not built.

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
        used = check_strides(strides, [2 ** (i + 1) for i in range(len(depths))], "CSPDarknet")
        self.stem = ConvNormAct(3, width, 3, norm=norm, act=act)
        stages = {
            stride: _stage(width * stride, depth, stride == 2, norm, act)
            for stride, depth in zip(used, depths, strict=False)
        }
        self.stages = Stages(stages, [width * stride for stride in used], strides)
        self.specs = self.stages.specs
        init_darknet(self)
        vary_residuals(self.stages, drop_path_rate, join)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, H / stride, W / stride] per spec."""
        return self.stages(self.stem(images))


def partial_stages(depths: Sequence[int] | None = None, **darknet: Any) -> CSPDarknet:
    """A CSPDarknet with the depths and all other arguments of a `Darknet`: `ResidualStages`.

    Raises:
        ValueError: these are the arguments of another backbone.
    """
    strange = sorted(set(darknet) - set(ResidualStages._fields))
    if depths is None or strange:
        found = f"has {', '.join(strange)}" if strange else "has no depths of residual stages"
        raise ValueError(
            f"csp makes the stages of a Darknet partial ones, but this backbone {found}: choose "
            "backbone=darknet53, such as model=yolov3 has, or leave the trick out"
        )
    return CSPDarknet(depths=depths, **darknet)


def _stage(
    channels: int, depth: int, first: bool, norm: Norm | None, act: Activation | None
) -> CSPStage:
    half = channels // 2
    split = channels if first else half
    return CSPStage(half, channels, depth, split=split, hidden=half, norm=norm, act=act)
