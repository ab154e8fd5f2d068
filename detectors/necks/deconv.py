"""The transposed convolutions of CenterNet on a plain ResNet."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from detectors.layers.conv import Activation, Norm, activation
from detectors.necks import Neck
from detectors.ranges import Count
from detectors.structures import FeatureSpec


class Deconv(Neck):
    """Enlarges the coarsest level by transposed convolutions until it has the wanted stride.

    Each convolution is 4x4 with stride 2 and weights from N(0, 0.001), followed by norm and
    activation: "res" of CenterNet (Zhou et al. 2019, sec. 5), after the simple baselines of Xiao et
    al. 2018, sec. 2. It has a bias only where no norm follows. The finer levels of the backbone are
    not used.

    Raises:
        ValueError: the coarsest stride cannot be halved repeatedly until it is `stride`.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        norm: Norm | None,
        act: Activation,
        stride: Count = 4,
        channels: int = 256,
    ) -> None:
        super().__init__()
        steps = _doublings(specs[-1].stride, stride)
        widths = [specs[-1].channels] + [channels] * steps
        self.layers = nn.Sequential(
            *(_double(before, after, norm, act) for before, after in pairwise(widths))
        )
        self.specs = [FeatureSpec(channels, stride)]

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [self.layers(features[-1])]


def _doublings(coarse: int, fine: int) -> int:
    steps = (coarse // fine).bit_length() - 1
    if steps < 1 or fine * 2**steps != coarse:
        raise ValueError(
            "Deconv halves the stride repeatedly, which does not lead "
            f"from stride {coarse} to {fine}: choose {coarse} divided by a power of two"
        )
    return steps


def _double(in_channels: int, channels: int, norm: Norm | None, act: Activation) -> nn.Sequential:
    deconv = nn.ConvTranspose2d(in_channels, channels, 4, stride=2, padding=1, bias=norm is None)
    nn.init.normal_(deconv.weight, std=0.001)  # CenterNet `networks/msra_resnet.py`
    return nn.Sequential(deconv, *([norm(channels)] if norm else []), activation(act, channels))
