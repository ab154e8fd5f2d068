"""A backbone of one's own."""

from collections.abc import Callable

from torch import Tensor, nn

from detectors.structures import FeatureSpec


class Patches(nn.Module):
    """Patches of 8 pixels, twice halved: levels of strides 8, 16 and 32."""

    def __init__(self, width: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.specs = [FeatureSpec(width * 2**k, 8 * 2**k) for k in range(3)]
        kernels = [(3, width, 9, 8), (width, 2 * width, 3, 2), (2 * width, 4 * width, 3, 2)]
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, side, stride, side // 2, bias=False),
                norm(after),
                nn.ReLU(),
            )
            for before, after, side, stride in kernels
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        features = []
        for level in self.levels:
            images = level(images)
            features.append(images)
        return features
