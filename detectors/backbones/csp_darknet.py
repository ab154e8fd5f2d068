"""CSPDarknet-53 and its thinner relatives."""

from collections.abc import Sequence

from torch import Tensor, nn

from detectors.backbones.darknet import check_strides
from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.csp import CSPStage
from detectors.layers.dark import init_darknet
from detectors.structures import FeatureSpec


class CSPDarknet(nn.Module):
    """Darknet with cross stage partial stages.

    The defaults are CSPDarknet-53 without its classifier (YOLOv4, sec. 3.4; `cfg/yolov4.cfg`,
    layers 0 to 104): 26,617,184 parameters. A stage's branches have half its channels; the first
    stage's have all of them, and its blocks are narrower inside. Stages coarser than the last
    stride are not built.

    Args:
        depths: residual blocks of each stage; stage i has stride 2 ** (i + 1).
        width: channels of the stem; every stage doubles them.
        strides: levels to return, rising.

    Raises:
        ValueError: a stride is not offered.
    """

    def __init__(
        self,
        norm: Norm | None,
        act: Activation | None,
        depths: Sequence[int] = (1, 2, 8, 8, 4),
        width: int = 32,
        strides: Sequence[int] = (8, 16, 32),
    ) -> None:
        super().__init__()
        used = check_strides(strides, [2 ** (i + 1) for i in range(len(depths))], "CSPDarknet")
        self.specs = [FeatureSpec(width * stride, stride) for stride in used if stride in strides]
        self.returned = [stride in strides for stride in used]
        self.stem = ConvNormAct(3, width, 3, norm=norm, act=act)
        self.stages = nn.ModuleList(
            _stage(width * stride, depth, stride == 2, norm, act)
            for stride, depth in zip(used, depths, strict=False)
        )
        init_darknet(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, H / stride, W / stride] per spec."""
        x = self.stem(images)
        features = []
        for stage, returned in zip(self.stages, self.returned, strict=True):
            x = stage(x)
            if returned:
                features.append(x)
        return features


def _stage(
    channels: int, depth: int, first: bool, norm: Norm | None, act: Activation | None
) -> CSPStage:
    half = channels // 2
    split = channels if first else half
    return CSPStage(half, channels, depth, split=split, hidden=half, norm=norm, act=act)
