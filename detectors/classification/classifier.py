"""The classifier in which a backbone is pre-trained."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.ops.convolution import narrow_in_float32
from detectors.structures import FeatureSpec


class Classifier(nn.Module):
    """Images to class logits: the coarsest level of a backbone, its mean, a 1x1 convolution.

    So in darknet's `cfg/darknet53.cfg`. In `cfg/darknet19.cfg` the linear convolution comes before
    the mean, which gives the same.

    Args:
        backbone: images to feature levels, finest first, with `specs`.
        num_classes: of the logits.
        mean, std: of RGB in 0..255, subtracted and divided by; as in the detector to come.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, num_classes: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        coarsest: FeatureSpec = backbone.specs[-1]  # type: ignore[index,assignment]
        self.logits = nn.Conv2d(coarsest.channels, num_classes, 1)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] uint8, or float in 0..255, to [B, C] float32."""
        with narrow_in_float32():
            features = self.backbone((images.float() - self.mean) / self.std)[-1]
        return self.logits(F.adaptive_avg_pool2d(features, 1)).flatten(1).float()
