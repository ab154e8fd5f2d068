"""Runs the stages of a network one after another and returns some of their outputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from detectors.layers.conv import Activation, Norm
from detectors.structures import FeatureSpec


class ResidualStages(NamedTuple):
    """All that a backbone of residual stages is made with, if `trick=[csp]` is to know it."""

    norm: Norm | None
    act: Activation | None
    depths: Sequence[int]  # residual blocks of each stage
    width: int  # channels of the stem
    strides: Sequence[int]  # levels to return
    drop_path_rate: float  # this and the next: see `layers.dark.vary_residuals`
    join: Callable[[int], nn.Module] | None


def check_strides(strides: Sequence[int], offered: Sequence[int], network: str) -> list[int]:
    """The offered strides, rising, up to the largest one asked for.

    Raises:
        ValueError: a stride is not offered.
    """
    if not strides or not set(strides) <= set(offered):
        raise ValueError(f"strides {list(strides)}: this {network} offers {list(offered)}")
    return [stride for stride in offered if stride <= max(strides)]


class Stages(nn.ModuleList):
    """Stages one after another; the outputs of some of them are the feature levels.

    Args:
        stages: by the stride that their output has, rising.
        channels: of the output of each.
        strides: levels to return.
    """

    def __init__(
        self, stages: Mapping[int, nn.Module], channels: Sequence[int], strides: Sequence[int]
    ) -> None:
        super().__init__(stages.values())
        outputs = map(FeatureSpec, channels, stages)
        self.specs = [spec for spec in outputs if spec.stride in strides]
        self.returned = [stride in strides for stride in stages]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Levels [B, channels, H, W] of the input of the first stage, finest first."""
        features = []
        for stage, returned in zip(self, self.returned, strict=True):
            x = stage(x)
            if returned:
                features.append(x)
        return features
