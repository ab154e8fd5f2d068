"""A neck of one's own."""

from collections.abc import Sequence

from torch import Tensor, nn

from detectors.structures import FeatureSpec


class Slim(nn.Module):
    """Every level squeezed to one width."""

    def __init__(self, specs: Sequence[FeatureSpec], width: int) -> None:
        super().__init__()
        self.specs = [FeatureSpec(width, spec.stride) for spec in specs]
        self.squeeze = nn.ModuleList(nn.Conv2d(spec.channels, width, 1) for spec in specs)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [squeeze(x) for squeeze, x in zip(self.squeeze, features, strict=True)]
