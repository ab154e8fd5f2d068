"""The CSPDarknet of YOLOX, whose stem folds four pixels into one cell."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.backbones.stages import Stages, check_strides
from detectors.layers.context import spp
from detectors.layers.conv import Activation, ConvNormAct, Norm, spatial
from detectors.layers.csp import CSPBlock
from detectors.layers.dark import vary_residuals
from detectors.ranges import Count, Positive, Share


class CSPFocus(Backbone):
    """A `Focus` stem, then stages of one 3x3 convolution of stride 2 and a `CSPBlock`.

    YOLOX's CSPDarknet (Ge et al. 2021, table 3; released `darknet.py`): the stem has `int(64
    width)` channels, every stage doubles them; the stages have n, 3 n, 3 n and n blocks with n =
    `max(round(3 depth), 1)`. The last one has a spatial pyramid before its blocks, which add
    nothing to their input. Width and depth of 1 are YOLOX-L's: 27,075,968 parameters. Weights start
    as torch has them. Stages coarser than the last stride are not built.

    Args:
        depth, width: multiples of the numbers above.
        depthwise: whether 3x3 convolutions behind the stem are separable (YOLOX-Nano).
        strides: levels to return, rising, out of 4, 8, 16 and 32.
        drop_path_rate, join: see `vary_residuals`.

    Raises:
        ValueError: a stride is not offered.
    """

    def __init__(
        self,
        norm: Norm | None,
        act: Activation | None,
        depth: Positive = 1.0,
        width: Positive = 1.0,
        depthwise: bool = False,
        strides: Sequence[Count] = (8, 16, 32),
        drop_path_rate: Share = 0.0,
        join: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        used = check_strides(strides, [4, 8, 16, 32], "CSPFocus")
        base, blocks = int(64 * width), max(round(3 * depth), 1)
        self.stem = Focus(3, base, norm, act)
        depths = dict(zip((4, 8, 16, 32), (blocks, 3 * blocks, 3 * blocks, blocks), strict=True))
        channels = [base * stride // 2 for stride in used]
        stages = {
            stride: _stage(into, depths[stride], stride == 32, depthwise, norm, act)
            for stride, into in zip(used, channels, strict=True)
        }
        self.stages = Stages(stages, channels, strides)
        self.specs = self.stages.specs
        vary_residuals(self.stages, drop_path_rate, join)

    def forward(self, images: Tensor) -> list[Tensor]:
        """One [B, channels, ceil(H / stride), ceil(W / stride)] per spec of [B, 3, H, W]."""
        return self.stages(self.stem(images))


class Focus(nn.Module):
    """Folds 2 x 2 pixels into the channels of one cell, then convolves by 3x3.

    [B, in, H, W] -> [B, out, ceil(H / 2), ceil(W / 2)]; an odd side is repeated to an even one. The
    pixels come in the order upper left, lower left, upper right, lower right.
    """

    def __init__(
        self, in_channels: int, channels: int, norm: Norm | None, act: Activation | None
    ) -> None:
        super().__init__()
        self.conv = ConvNormAct(4 * in_channels, channels, 3, norm=norm, act=act)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height % 2 or width % 2:
            x = nn.functional.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
        upper, lower = x[..., ::2, :], x[..., 1::2, :]
        cells = [upper[..., ::2], lower[..., ::2], upper[..., 1::2], lower[..., 1::2]]
        return self.conv(torch.cat(cells, dim=1))


def _stage(
    channels: int,
    depth: int,
    last: bool,
    depthwise: bool,
    norm: Norm | None,
    act: Activation | None,
) -> nn.Sequential:
    down = spatial(depthwise)(channels // 2, channels, 3, stride=2, norm=norm, act=act)
    blocks = CSPBlock(channels, channels, depth, norm, act, not last, depthwise)
    return nn.Sequential(down, *([spp(channels, norm, act)] if last else []), blocks)
