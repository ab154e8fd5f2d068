"""Poolers: a map of fixed size for each region. Their contract is `detectors.heads.Pooler`."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import roi_pool

from detectors.contracts import check_contract
from detectors.heads import Pooler
from detectors.ops.pooling import precise_pyramid, roi_align_pyramid
from detectors.ranges import Count, Positive
from detectors.structures import FeatureSpec


class RoIAlign(Pooler):
    """RoIAlign from the level that fits the region's size; see `ops.pooling.roi_align_pyramid`.

    Args:
        specs: feature levels, finest first.
        strides: levels to pool from; one of them means always that one.
        size: bins per side.
        sampling: sampling points per side of a bin.
    """

    def __init__(
        self, specs: list[FeatureSpec], strides: list[int], size: Count = 7, sampling: Count = 2
    ) -> None:
        super().__init__()
        self.levels = [_level(specs, stride) for stride in strides]
        self.shape = (specs[self.levels[0]].channels, size, size)
        self.strides, self.size, self.sampling = list(strides), size, sampling

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """[B, R, channels, size, size]."""
        levels = [features[level] for level in self.levels]
        return roi_align_pyramid(levels, boxes, self.strides, self.size, self.sampling)


class ScaledGradient(Pooler):
    """Another pooler, whose gradient is multiplied: detectron2's cascades divide it by their looks.

    Args:
        specs: feature levels.
        pooler: makes the other one, `(specs)`.
        factor: of the gradient.
    """

    def __init__(
        self, specs: list[FeatureSpec], pooler: Callable[..., Pooler], factor: Positive
    ) -> None:
        super().__init__()
        self.pooler, self.factor = pooler(specs), factor
        check_contract(self.pooler, Pooler)
        self.shape = self.pooler.shape

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """`[B, R, *shape]`."""
        pooled = self.pooler(features, boxes)
        return pooled.detach() + self.factor * (pooled - pooled.detach())


class PreciseRoIPool(Pooler):
    """Precise RoI pooling, with a gradient to the boxes; see `ops.pooling.precise_pyramid`.

    Args:
        specs, strides, size: as of `RoIAlign`.
    """

    def __init__(self, specs: list[FeatureSpec], strides: list[int], size: Count = 7) -> None:
        super().__init__()
        self.levels = [_level(specs, stride) for stride in strides]
        self.shape = (specs[self.levels[0]].channels, size, size)
        self.strides, self.size = list(strides), size

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """[B, R, channels, size, size]."""
        levels = [features[level] for level in self.levels]
        return precise_pyramid(levels, boxes, self.strides, self.size)


class RoIPool(Pooler):
    """RoI max pooling from one level: ends of regions and of bins in whole cells.

    Fast R-CNN, sec. 2.1; torchvision's `roi_pool`.

    Args:
        specs: feature levels.
        stride: of the level.
        size: bins per side.
    """

    def __init__(self, specs: list[FeatureSpec], stride: int, size: Count = 7) -> None:
        super().__init__()
        self.level = _level(specs, stride)
        self.shape = (specs[self.level].channels, size, size)
        self.stride, self.size = stride, size

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """[B, R, channels, size, size]."""
        batch, regions = boxes.shape[:2]
        image = torch.arange(batch, device=boxes.device, dtype=boxes.dtype)
        rows = torch.cat([image[:, None, None].expand(batch, regions, 1), boxes], dim=-1)
        feature = features[self.level].float()
        pooled = roi_pool(feature, rows.flatten(0, 1), self.size, 1 / self.stride)
        return pooled.unflatten(0, (batch, regions))


def _level(specs: list[FeatureSpec], stride: int) -> int:
    offered = [spec.stride for spec in specs]
    if stride not in offered:
        raise ValueError(
            f"regions are to be pooled from stride {stride}, but the neck offers {offered}: "
            "choose another neck or other strides of the pooler"
        )
    return offered.index(stride)
