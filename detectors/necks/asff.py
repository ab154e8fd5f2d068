"""Adaptively spatial feature fusion, or ASFF (Liu et al. 2019)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.necks import Neck
from detectors.necks.extra_levels import check_doubling, halved
from detectors.ranges import Count
from detectors.structures import FeatureSpec


class ASFF(Neck):
    """Replaces each level by a mean of all levels, weighted cell by cell (sec. 3.2 and 3.3).

    It follows another neck and keeps the shape of every level. Coarser levels pass through a 1x1
    convolution and are enlarged. Finer levels pass through a 3x3 convolution of stride 2, after
    pooling where they are more than twice as fine (sec. 3.2).

    Args:
        specs: levels, finest first; each stride is twice the one before.
        narrow: channels from which the weights are computed; 16 in the release (`asff.py`).

    Raises:
        ValueError: there are fewer than two levels, or their strides do not double.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        norm: Norm | None,
        act: Activation | None,
        narrow: Count = 16,
    ) -> None:
        super().__init__()
        check_doubling(specs, "ASFF")
        self.specs = list(specs)
        self.fusions = nn.ModuleList(
            _Fusion(specs, level, norm, act, narrow) for level in range(len(specs))
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [fusion(features) for fusion in self.fusions]


class _Fusion(nn.Module):
    """The sum of all levels at one level's size, weighted by a softmax over levels (eq. 1, 2)."""

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        level: int,
        norm: Norm | None,
        act: Activation | None,
        narrow: Count,
    ) -> None:
        super().__init__()
        self.level, channels = level, specs[level].channels
        self.resize = nn.ModuleList(
            nn.Identity()
            if index == level
            else ConvNormAct(spec.channels, channels, kernel, step, norm=norm, act=act)
            for index, spec in enumerate(specs)
            for kernel, step in [(1, 1) if index > level else (3, 2)]
        )
        self.squeeze = nn.ModuleList(
            ConvNormAct(channels, narrow, 1, norm=norm, act=act) for _ in specs
        )
        self.weigh = nn.Conv2d(narrow * len(specs), len(specs), 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        resized = [self._resized(features, index) for index in range(len(features))]
        squeezed = [squeeze(x) for squeeze, x in zip(self.squeeze, resized, strict=True)]
        levels = torch.stack(resized, dim=1)  # [B, L, C, H, W]
        weights = self.weigh(torch.cat(squeezed, dim=1)).softmax(dim=1).to(levels.dtype)
        return (weights.unsqueeze(2) * levels).sum(dim=1)

    def _resized(self, features: list[Tensor], index: int) -> Tensor:
        x = features[index]
        for _ in range(self.level - index - 1):
            x = halved(x)
        x = self.resize[index](x)
        return F.interpolate(x, size=features[self.level].shape[-2:]) if index > self.level else x
