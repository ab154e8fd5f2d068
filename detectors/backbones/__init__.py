"""Backbones: from images to feature levels."""

from abc import ABC, abstractmethod
from typing import Annotated

from torch import Tensor, nn

from detectors.structures import FeatureSpec


class Backbone(nn.Module, ABC):
    """A network that turns images into feature levels."""

    specs: Annotated[list[FeatureSpec], "channels and stride of each level, finest first"]
    # Whether it is made with `weights=PATH`, a file that names tensors as the library does that the
    # network comes from. No backbone has to say so, because none has to be able to.
    reads_foreign_weights = False

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """One [B, channels, ceil(H / stride), ceil(W / stride)] per spec of images [B, 3, H, W]."""
