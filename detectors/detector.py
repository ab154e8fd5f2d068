"""The detector: normalise, backbone, neck, head, post-process."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from detectors.heads import Head
from detectors.structures import Candidates, Detections, Targets


class Detector(nn.Module):
    """Images to losses or to detections.

    Args:
        backbone: images to feature levels, with `specs`.
        neck: `(specs) -> module` from levels to levels, with `specs`.
        head: `(specs) -> module` from levels to losses and candidates.
        postprocess: `(candidates, frames) -> Detections`.
        mean, std: of RGB in 0..255, subtracted and divided by.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        neck: Callable[..., nn.Module],
        head: Callable[..., Head],
        postprocess: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck(backbone.specs)
        self.head = head(self.neck.specs)
        self.postprocess = postprocess
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def loss(
        self, images: Tensor, targets: Targets, frames: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Weighted loss terms by name; what is minimised is their sum.

        Args:
            images: [B, 3, H, W] uint8, or float in 0..255.
            targets: padded objects in pixels of the images.
            frames: [B, 4] the part of each image that the picture fills; all of it if None.
        """
        frames = _whole(images) if frames is None else frames
        output = self.head(self.features(images), frames, targets)
        return self.head.loss(output, targets)

    def forward(self, images: Tensor, frames: Tensor | None = None) -> Detections:
        """Detections in pixels of the images; arguments as `loss`."""
        frames = _whole(images) if frames is None else frames
        return self.postprocess(self.candidates(images, frames), frames)

    def candidates(self, images: Tensor, frames: Tensor) -> Candidates:
        """Everything that was predicted, before the post-processing."""
        return self.head.detect(self.head(self.features(images), frames))

    def features(self, images: Tensor) -> list[Tensor]:
        """Levels of the neck, what the head looks at."""
        return self.neck(self.backbone((images.float() - self.mean) / self.std))


def _whole(images: Tensor) -> Tensor:
    """The frame [B, 4] that covers each image."""
    height, width = images.shape[-2:]
    frame = torch.tensor([0.0, 0.0, width, height], device=images.device)
    return frame.expand(images.shape[0], 4)
