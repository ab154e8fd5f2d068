"""The detector: normalise, backbone, neck, head, post-process."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.contracts import check_contract
from detectors.heads import Head
from detectors.heads.windows import WindowGrid
from detectors.layers.fused import fold_batch_norms
from detectors.necks import Neck
from detectors.ops.convolution import narrow_in_float32
from detectors.postprocess import PostProcess
from detectors.ranges import Positive
from detectors.structures import Candidates, Detections, Proposals, Targets

FUSED_APART = 1e-3  # of the largest feature; rounding gave up to 2e-4 where variances were near 0


class Detector(nn.Module):
    """Images to losses or to detections.

    Args:
        backbone: from images to feature levels.
        neck: makes the neck, `(specs)`.
        head: makes the head, `(specs)`.
        postprocess: from candidates to detections.
        mean, std: of RGB in 0..255, subtracted and divided by.

    Raises:
        ValueError: a part lacks an attribute of its contract, or the head finds points, not boxes.
    """

    mean: Tensor
    std: Tensor
    classes: tuple[str, ...] = ()  # names of the labels, of a detector from a checkpoint

    def __init__(
        self,
        backbone: Backbone,
        neck: Callable[..., Neck],
        head: Callable[..., Head],
        postprocess: PostProcess,
        mean: Sequence[float],
        std: Sequence[Positive],
    ) -> None:
        super().__init__()
        check_contract(backbone, Backbone)
        self.backbone = backbone
        self.neck = neck(backbone.specs)
        check_contract(self.neck, Neck)
        self.head = head(self.neck.specs)
        check_contract(self.head, Head)
        _check_boxes(self.head)
        check_contract(postprocess, PostProcess)
        self.postprocess = postprocess
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def loss(
        self,
        images: Tensor,
        targets: Targets,
        frames: Tensor | None = None,
        proposals: Proposals | None = None,
    ) -> dict[str, Tensor]:
        """Weighted loss terms by name; what is minimised is their sum.

        Args:
            images: [B, 3, H, W] uint8, or float in 0..255.
            targets: padded objects in pixels of the images.
            frames: [B, 4] the part of each image that the picture fills; all of it if None.
            proposals: what a second stage looks at, for a head that takes them.

        Raises:
            ValueError: proposals are given that nothing looks at, or needed ones are not given.
        """
        frames = _whole(images) if frames is None else frames
        with narrow_in_float32():
            output = self.head(self.features(images), frames, targets, *self._given(proposals))
        return self.head.loss(output, targets)

    def forward(
        self, images: Tensor, frames: Tensor | None = None, proposals: Proposals | None = None
    ) -> Detections:
        """Detections in pixels of the images; arguments as `loss`."""
        frames = _whole(images) if frames is None else frames
        output = self.head(self.features(images), frames, None, *self._given(proposals))
        detections = self.postprocess(self.head.detect(output), frames)
        return self.head.refine(output, detections)

    @property
    def most_found(self) -> int | None:
        """Most objects of an image that it can find; None: unknown."""
        limits = (self.head.most, self.postprocess.detections)
        return min((limit for limit in limits if limit is not None), default=None)

    def candidates(
        self, images: Tensor, frames: Tensor, proposals: Proposals | None = None
    ) -> Candidates:
        """Everything that was predicted, before the post-processing."""
        given = self._given(proposals)
        return self.head.detect(self.head(self.features(images), frames, None, *given))

    def _given(self, proposals: Proposals | None) -> tuple[Proposals, ...]:
        """The fourth argument of the head, where there is one."""
        if proposals is None:
            return ()
        if not self.head.takes_proposals:
            raise ValueError(
                f"proposals are given, but this {type(self.head).__name__} has no second stage "
                "that looks at those of others: build it with data.proposals=FILE"
            )
        return (proposals,)

    @torch.no_grad()
    def fused(self, images: Tensor) -> "Detector":
        """A copy for inference alone, with batch norms folded into convolutions.

        What it computes differs by the rounding of float32; that of the features is checked.

        Args:
            images: [B, 3, H, W] uint8 on a canvas that the detector takes.

        Raises:
            ValueError: the features differ by more.
        """
        copied = copy.deepcopy(self).eval()
        expected: list[Tensor] = []

        def run() -> None:
            expected.extend(copied.features(images))
            frames = _whole(images)
            given = (WindowGrid()(frames),) if copied.head.takes_proposals else ()
            copied.head(expected, frames, None, *given)

        fold_batch_norms(copied, run)
        for one, other in zip(copied.features(images), expected, strict=True):
            if not (one - other).abs().max() <= FUSED_APART * other.abs().max():
                raise ValueError(
                    "the features change where batch norms are folded into convolutions: use the "
                    "detector as it is"
                )
        return copied

    def features(self, images: Tensor) -> list[Tensor]:
        """Levels of the neck, what the head looks at."""
        return self.neck(self.backbone((images.float() - self.mean) / self.std))


def _check_boxes(head: Head) -> None:
    if head.finds_points:
        raise ValueError(
            f"{type(head).__name__} finds points, but nothing makes boxes of them: choose "
            "head=corners, or another coder, such as coder=center_offset"
        )


def _whole(images: Tensor) -> Tensor:
    """The frame [B, 4] that covers each image."""
    height, width = images.shape[-2:]
    frame = torch.tensor([0.0, 0.0, width, height], device=images.device)
    return frame.expand(images.shape[0], 4)
