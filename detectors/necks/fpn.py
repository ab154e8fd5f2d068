"""Feature pyramid network, or FPN (Lin et al. 2017), and the coarser levels added to it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import ConvNormAct, Norm
from detectors.necks import Neck
from detectors.necks.extra_levels import check_rising, halving
from detectors.ranges import Count
from detectors.structures import FeatureSpec


class FPN(Neck):
    """Adds 1x1 laterals up from coarse to fine, then convolves each sum by 3x3 (sec. 3).

    There is no activation. Parameters have the order and initial distribution of torchvision's
    FeaturePyramidNetwork. A level is enlarged to exactly the size of the finer one, so that every
    image size works.

    Args:
        specs: levels of the backbone, finest first.
        channels: of every output level.
        extra: `(backbone specs, pyramid specs) -> module` that makes further levels: `PooledLevel`,
            `LevelsFromInput` or `LevelsFromOutput`.
        norm: follows every lateral and output convolution, which then has no bias; the paper has
            none.

    Raises:
        ValueError: a stride is not larger than the one before.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        channels: Count = 256,
        extra: Callable[[Sequence[FeatureSpec], Sequence[FeatureSpec]], Any] | None = None,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        check_rising(specs, "FPN")
        self.lateral = nn.ModuleList(
            ConvNormAct(spec.channels, channels, 1, norm=norm, act=None) for spec in specs
        )
        self.output = nn.ModuleList(
            ConvNormAct(channels, channels, 3, norm=norm, act=None) for _ in specs
        )
        self.specs = [FeatureSpec(channels, spec.stride) for spec in specs]
        self.extra = extra(specs, self.specs) if extra else None
        if self.extra is not None:
            self.specs = [*self.specs, *self.extra.specs]
        init_pyramid(self)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        outputs = [
            output(merged)
            for output, merged in zip(self.output, self._merge(features), strict=True)
        ]
        if self.extra is not None:
            outputs += self.extra(features, outputs)
        return outputs

    def _merge(self, features: list[Tensor]) -> list[Tensor]:
        laterals = [
            lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)
        ]
        merged = laterals[-1:]
        for finer in reversed(laterals[:-1]):
            merged.insert(0, finer + F.interpolate(merged[0], size=finer.shape[-2:]))
        return merged


class PooledLevel(nn.Module):
    """One more level: every second cell of the coarsest output (FPN, sec. 4.1, footnote 2)."""

    def __init__(self, inputs: Sequence[FeatureSpec], outputs: Sequence[FeatureSpec]) -> None:
        super().__init__()
        self.specs = [outputs[-1]._replace(stride=2 * outputs[-1].stride)]

    def forward(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Tensor]:
        return [F.max_pool2d(outputs[-1], kernel_size=1, stride=2)]


class LevelsFromInput(nn.Module):
    """Two more levels: P6 from C5, and P7 from P6 (RetinaNet, Lin et al. 2017, sec. 4).

    Args:
        inputs, outputs: levels of the backbone and of the pyramid, finest first.
        rectified: whether a ReLU stands between them; mmdetection has none unless asked for.
    """

    def __init__(
        self,
        inputs: Sequence[FeatureSpec],
        outputs: Sequence[FeatureSpec],
        rectified: bool = True,
    ) -> None:
        super().__init__()
        self.rectified = rectified
        channels, stride = outputs[-1]
        self.specs = [FeatureSpec(channels, factor * stride) for factor in (2, 4)]
        self.p6 = halving(inputs[-1].channels, channels)
        self.p7 = halving(channels, channels)

    def forward(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Tensor]:
        p6 = self.p6(inputs[-1])
        return [p6, self.p7(p6.relu() if self.rectified else p6)]


def init_pyramid(module: nn.Module) -> None:
    """Kaiming-uniform weights with a = 1 and zero biases: torchvision `feature_pyramid_network.py`.

    For a convolution that keeps the number of channels this equals Xavier-uniform.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
