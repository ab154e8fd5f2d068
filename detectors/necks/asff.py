"""Adaptively spatial feature fusion (Liu et al. 2019)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.necks.extra_levels import check_doubling, halved
from detectors.structures import FeatureSpec


class ASFF(nn.Module):
    """Each level a mean of all levels, weighted cell by cell; shapes stay (sec. 3.2 and 3.3).

    Follows another neck. Coarser levels come through a 1x1 convolution and are enlarged, finer ones
    through a 3x3 of stride 2, pooled before where they are more than twice as fine (sec. 3.2).

    Args:
        specs: levels, finest first, of doubling strides.
        narrow: channels that the weights are computed from; 16 in the release (`asff.py`).

    Raises:
        ValueError: the levels cannot be fused.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        norm: Norm | None,
        act: Activation | None,
        narrow: int = 16,
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
    """All levels, resized to one of them, weighted by a softmax over the levels (eq. 1 and 2)."""

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        level: int,
        norm: Norm | None,
        act: Activation | None,
        narrow: int,
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
