"""The feature pyramid that an architecture search found (NAS-FPN, Ghiasi et al. 2019)."""

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm, activation
from detectors.necks import Neck
from detectors.necks.extra_levels import check_doubling
from detectors.necks.fpn import init_pyramid
from detectors.ranges import Count
from detectors.structures import FeatureSpec

LEVELS = 5


class NASFPN(Neck):
    """Brings five levels to one width, then merges them by seven cells, which are repeated.

    If the backbone delivers fewer levels, coarser ones are added: a 1x1 convolution of the one
    before, and the maximum of 2x2 cells. The merging cells are the seven that the paper discovered
    (sec. 4.2), as mmdet has them. It rounds odd sides down, but fills its images up to multiples of
    128; ours are rounded up.

    Args:
        specs: levels of the backbone, finest first; each stride is twice the one before.
        norm: behind every convolution.
        act: before the convolution of a merging cell.
        channels: of every output level.
        repeats: how often the cells are run; "7 @ 256" in table 1.
        bias: of the cells' convolutions; as of `ConvNormAct`. mmdet has it before its norms.

    Raises:
        ValueError: there are more than five levels, or their strides do not double.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        norm: Norm | None,
        act: Activation,
        channels: Count = 256,
        repeats: Count = 7,
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.specs = _five(specs, channels)
        bring = partial(ConvNormAct, kernel=1, norm=norm, act=None)
        self.lateral = nn.ModuleList(bring(spec.channels, channels) for spec in specs)
        self.coarser = nn.ModuleList(bring(channels, channels) for _ in range(LEVELS - len(specs)))
        self.stacks = nn.ModuleList(_Cells(channels, norm, act, bias) for _ in range(repeats))
        init_pyramid(self)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        levels = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        for bring in self.coarser:
            levels.append(_halved(bring(levels[-1])))
        for cells in self.stacks:
            levels = cells(levels)
        return levels


def _five(specs: Sequence[FeatureSpec], channels: Count) -> list[FeatureSpec]:
    """What a pyramid of five levels promises."""
    check_doubling(specs, "NASFPN")
    if len(specs) > LEVELS:
        raise ValueError(
            f"NASFPN merges {LEVELS} levels, but was given strides {[s.stride for s in specs]}: "
            "ask the backbone for fewer, such as part.levels=[8,16,32], or choose neck=bifpn"
        )
    return [FeatureSpec(channels, specs[0].stride * 2**level) for level in range(LEVELS)]


class _Cells(nn.Module):
    """Seven merging cells; each is a binary operation, an activation, a 3x3 convolution, a norm."""

    def __init__(
        self, channels: Count, norm: Norm | None, act: Activation, bias: bool | None
    ) -> None:
        super().__init__()
        self.after = nn.ModuleDict(
            {
                cell: nn.Sequential(
                    activation(act, channels),
                    ConvNormAct(channels, channels, 3, norm=norm, act=None, bias=bias),
                )
                for cell in ("p4_1", "p4_2", "p3", "p4", "p5", "p7", "p6")
            }
        )

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """P3 to P7, or whatever five levels there are, to the same shapes."""
        p3, p4, p5, p6, p7 = levels
        p4_1 = self.after["p4_1"](attended(p6, p4, like=p4))
        p4_2 = self.after["p4_2"](p4_1 + p4)
        p3 = self.after["p3"](resized(p4_2, like=p3) + p3)
        p4 = self.after["p4"](resized(p3, like=p4) + p4_2)
        p5 = self.after["p5"](p5 + attended(p4, p3, like=p5))
        p7 = self.after["p7"](p7 + attended(p5, p4_2, like=p7))
        p6 = self.after["p6"](attended(p7, p5, like=p6))
        return [p3, p4, p5, p6, p7]


def attended(a: Tensor, b: Tensor, like: Tensor) -> Tensor:
    """`b + sigmoid(mean of b) a` at the size of `like`: "global pooling" (sec. 3.2 and fig. 3).

    The mean of each channel is taken over all cells.
    """
    a, b = resized(a, like), resized(b, like)
    return b + b.mean((-2, -1), keepdim=True).sigmoid() * a


def resized(x: Tensor, like: Tensor) -> Tensor:
    """`x` at the size of `like`, another level: by maxima of cells, or by repeating them."""
    if x.shape[-1] < like.shape[-1] or x.shape[-2] < like.shape[-2]:
        return F.interpolate(x, size=like.shape[-2:])
    while x.shape[-2:] != like.shape[-2:]:
        x = _halved(x)
    return x


def _halved(x: Tensor) -> Tensor:
    """The maximum of every 2x2 cells, fewer at the end of an odd side."""
    return F.max_pool2d(x, 2, ceil_mode=True)
