"""The transposed and deformable convolutions of CenterNet on a ResNet."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from detectors.layers.conv import Activation, Norm, activation
from detectors.layers.deformable import DeformableConv, bilinear_init
from detectors.necks import Neck
from detectors.structures import FeatureSpec


class DeformableDeconv(Neck):
    """Enlarges the coarsest level in steps: a deformable convolution, then a transposed one.

    CenterNet (Zhou et al. 2019), sec. 5 "ResNet" and `networks/resnet_dcn.py`: the transposed
    convolution is 4x4 with stride 2, has no bias and starts as bilinear interpolation. Norm and
    activation follow every convolution.

    Args:
        specs: levels of the backbone; only the coarsest is used.
        norm, act: follow every convolution.
        channels: output channels of each step; every step halves the stride.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        norm: Norm,
        act: Activation,
        channels: Sequence[int] = (256, 128, 64),
    ) -> None:
        super().__init__()
        widths = [specs[-1].channels, *channels]
        self.layers = nn.Sequential(
            *(_step(before, after, norm, act) for before, after in pairwise(widths))
        )
        self.specs = [FeatureSpec(widths[-1], specs[-1].stride >> len(channels))]

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [self.layers(features[-1])]


def _step(in_channels: int, channels: int, norm: Norm, act: Activation) -> nn.Sequential:
    deconv = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False)
    bilinear_init(deconv)
    deformable = DeformableConv(in_channels, channels)
    return nn.Sequential(
        deformable,
        norm(channels),
        activation(act, channels),
        deconv,
        norm(channels),
        activation(act, channels),
    )
