"""Pooling over a pyramid by operators that ONNX has a form for."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detectors.heads import Pooler
from detectors.heads.poolers import PreciseRoIPool, RoIAlign
from detectors.ops import pooling
from detectors.ops.pooling import precise_pyramid, roi_align_pyramid


@torch.library.custom_op("detectors::pooled_regions", mutates_args=())
def pooled_regions(
    features: Sequence[Tensor], boxes: Tensor, strides: Sequence[int], size: int, sampling: int
) -> Tensor:
    """`ops.pooling.roi_align_pyramid`, whose steps a graph does not see."""
    return roi_align_pyramid(list(features), boxes, list(strides), size, sampling).contiguous()


@pooled_regions.register_fake
def _(
    features: Sequence[Tensor], boxes: Tensor, strides: Sequence[int], size: int, sampling: int
) -> Tensor:
    return features[0].new_empty(*boxes.shape[:2], features[0].shape[1], size, size)


@torch.library.custom_op("detectors::weighted_rows", mutates_args=())
def weighted_rows(table: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """`ops.pooling.weighted_rows`, whose `embedding_bag` ONNX's exporter rounds to float32."""
    return pooling.weighted_rows(table, index, weights)


@weighted_rows.register_fake
def _(table: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    return table.new_empty(index.shape[0], table.shape[1])


class WholeRoIAlign(Pooler):
    """A `RoIAlign` whose work is one operator of the graph.

    Its own steps end in `embedding_bag`, which in ONNX would be a loop over all bins.
    """

    def __init__(self, pooler: RoIAlign) -> None:
        super().__init__()
        self.levels, self.shape = pooler.levels, pooler.shape
        self.strides, self.size, self.sampling = pooler.strides, pooler.size, pooler.sampling

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """[B, R, channels, size, size]."""
        levels = [features[level] for level in self.levels]
        return pooled_regions(levels, boxes, self.strides, self.size, self.sampling)


class ExactRoIPool(Pooler):
    """A `PreciseRoIPool` whose sums are an operator of the graph, in float64.

    It takes differences of sums over a whole level, which leave float32 few digits.
    """

    def __init__(self, pooler: PreciseRoIPool) -> None:
        super().__init__()
        self.levels, self.shape = pooler.levels, pooler.shape
        self.strides, self.size = pooler.strides, pooler.size

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """[B, R, channels, size, size]."""
        levels = [features[level] for level in self.levels]
        return precise_pyramid(levels, boxes, self.strides, self.size, weighted_rows)


def with_operators(network: nn.Module) -> None:
    """Put poolers of such operators in the places of those inside a module that have a like."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, RoIAlign):
                setattr(module, name, WholeRoIAlign(child))
            elif isinstance(child, PreciseRoIPool):
                setattr(module, name, ExactRoIPool(child))
