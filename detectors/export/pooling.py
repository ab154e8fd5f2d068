"""RoIAlign over a pyramid as one operator, which ONNX has an operator for too."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detectors.heads import Pooler
from detectors.heads.poolers import RoIAlign
from detectors.ops.pooling import roi_align_pyramid


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


def pool_whole(network: nn.Module) -> None:
    """Put a `WholeRoIAlign` in the place of each `RoIAlign` inside a module."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, RoIAlign):
                setattr(module, name, WholeRoIAlign(child))
