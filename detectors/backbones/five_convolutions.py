"""AlexNet and its kind as Fast R-CNN uses them: five convolutions, two pools, one level."""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.layers.conv import Activation, Norm, activation
from detectors.ranges import Count, Positive, Whole
from detectors.structures import FeatureSpec

STRIDE = 16


class FiveConvolutions(Backbone):
    """Five convolutions with pools of 3 x 3 behind the first two; returned is conv5, of stride 16.

    Fast R-CNN, Girshick 2015, sec. 4.1, "S" and "M", by the layers of its release. Pools round up,
    as in caffe. Without padding the map ends before the picture does, and with it behind; it is
    brought to the size that the stride says by cells of zeros, which a pooled region takes for none
    because conv5 has no negative ones, or cut.

    Args:
        norm: behind every convolution, in the place of the response norms, to learn from random
            weights; None: as published.
        act: behind that.
        widths, kernels, steps, paddings, groups: of each convolution; a step is its stride.
        pool_padding: of both pools.
        response: whether the response norms stand before or behind the pools.
        alpha, constant: of the response norms over 5 channels, whose exponent is 0.75.
        frozen_stages: the first so many convolutions do not learn.
    """

    def __init__(
        self,
        norm: Norm | None,
        act: Activation,
        widths: Sequence[Count],
        kernels: Sequence[Count],
        steps: Sequence[Count],
        paddings: Sequence[Whole],
        groups: Sequence[Count],
        pool_padding: Whole,
        response: Literal["before", "behind"],
        alpha: Positive,
        constant: Positive,
        frozen_stages: Whole = 0,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        rows = zip((3, *widths[:-1]), widths, kernels, steps, paddings, groups, strict=True)
        for entering, width, kernel, stride, padding, group in rows:
            conv = nn.Conv2d(
                entering, width, kernel, stride, padding, groups=group, bias=norm is None
            )
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            norms = [] if norm is None else [norm(width)]
            self.stages.append(nn.Sequential(conv, *norms, activation(act, width)))
        self.stages[:frozen_stages].requires_grad_(False)
        self.pool = nn.MaxPool2d(3, 2, pool_padding, ceil_mode=True)
        self.norm = nn.Identity() if norm else nn.LocalResponseNorm(5, alpha, 0.75, constant)
        self.norm_first = response == "before"
        self.specs = [FeatureSpec(widths[-1], STRIDE)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> [B, channels, H / 16, W / 16], in a list."""
        x = images
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number < 2:
                x = self.pool(self.norm(x)) if self.norm_first else self.norm(self.pool(x))
        height, width = (-(-side // STRIDE) for side in images.shape[-2:])
        return [F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))]
