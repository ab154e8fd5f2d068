"""The coarse levels that SSD adds to a backbone."""

from collections.abc import Callable, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.necks import Neck
from detectors.ranges import Count, Whole
from detectors.structures import FeatureSpec


class Extras(Neck):
    """Appends coarser levels to those of the backbone, each made from the one before.

    SSD, sec. 2.1 "Multi-scale feature maps" and Fig. 2; Xavier weights and zero biases (sec. 3).

    Args:
        specs: levels of the backbone, finest first.
        levels: named partials of `ExtraLevel`, finest first; None leaves one out.
        norm: follows every convolution; SSD has none.
        act: follows the norm.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        levels: Mapping[str, Callable[..., "ExtraLevel"] | None],
        norm: Norm | None,
        act: Activation,
    ) -> None:
        super().__init__()
        self.specs = list(specs)
        self.levels = nn.ModuleDict()
        for name, level in levels.items():
            if level is not None:
                built = level(self.specs[-1], norm=norm, act=act)
                self.levels[name] = built
                self.specs.append(built.spec)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        outputs = list(features)
        for level in self.levels.values():
            outputs.append(level(outputs[-1]))
        return outputs


class ExtraLevel(nn.Module):
    """A 1x1 convolution to fewer channels, then one that makes the map smaller.

    A map smaller than the kernel is padded with zeros, so that every image size works.

    Args:
        spec: the level that this one is made from.
        squeeze: channels between the two convolutions.
        channels: output channels.
        kernel, step, padding: size, stride and padding of the second convolution.
        stride: input pixels per cell that the level declares; None: `step` times the stride of
            `spec`. Without padding a map loses its border cells, but SSD spreads the remaining
            ones evenly over the whole image.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        norm: Norm | None,
        act: Activation,
        squeeze: Count,
        channels: int,
        kernel: Count = 3,
        step: Count = 2,
        padding: Whole = 1,
        stride: int | None = None,
    ) -> None:
        super().__init__()
        self.spec = FeatureSpec(channels, stride or step * spec.stride)
        self.least = kernel - 2 * padding  # cells that the kernel needs
        self.squeeze = ConvNormAct(spec.channels, squeeze, 1, norm=norm, act=act)
        self.reduce = ConvNormAct(squeeze, channels, kernel, step, norm=norm, act=act)
        self.reduce.conv.padding = (padding, padding)
        for conv in (self.squeeze.conv, self.reduce.conv):
            nn.init.xavier_uniform_(conv.weight)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, coarsest: Tensor) -> Tensor:
        height, width = coarsest.shape[-2:]
        missing = (0, max(self.least - width, 0), 0, max(self.least - height, 0))
        return self.reduce(F.pad(self.squeeze(coarsest), missing))
