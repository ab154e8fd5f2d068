"""Deep layer aggregation (Yu et al. 2018) for images of any size."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from detectors.backbones.timm import TimmBackbone
from detectors.layers.conv import Activation, Norm
from detectors.ranges import Count, Whole


def dla(
    name: str,
    strides: Sequence[Count] = (4, 8, 16, 32),
    pretrained: bool = False,
    weights: str | Path | None = None,
    frozen_stride: Whole = 0,
    norm: Norm | None = None,
    act: Activation | None = None,
) -> TimmBackbone:
    """timm's DLA, its pools rounding up as its convolutions do.

    A block adds the pooled input to what a convolution of stride 2 makes of it; where a side is odd
    they would differ by a cell. Arguments as `TimmBackbone`.
    """
    network = TimmBackbone(name, strides, pretrained, weights, frozen_stride, norm, act)
    for layer in network.modules():
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
    return network
