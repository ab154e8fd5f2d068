"""Necks: from feature levels to feature levels."""

from abc import ABC, abstractmethod
from typing import Annotated

from torch import Tensor, nn

from detectors.structures import FeatureSpec


class Neck(nn.Module, ABC):
    """Mixes feature levels; made with `(specs)`, those of the backbone."""

    specs: Annotated[list[FeatureSpec], "channels and stride of each level it gives, finest first"]

    @abstractmethod
    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """One [B, channels, H, W] per spec.

        Args:
            features: those of the backbone, finest first.
        """
