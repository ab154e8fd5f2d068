"""The neck of families that have none."""

from collections.abc import Sequence

from torch import Tensor

from detectors.necks import Neck
from detectors.structures import FeatureSpec


class Identity(Neck):
    """Passes the levels of the backbone on unchanged."""

    def __init__(self, specs: Sequence[FeatureSpec]) -> None:
        super().__init__()
        self.specs = list(specs)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return features
