"""A fitted model in the place of a detector: pictures out of the canvas, scan, post-process."""

import numpy as np
import torch
from torch import Tensor, nn

from detectors.contracts import check_contract
from detectors.fitted import Fitted, Windows
from detectors.postprocess import PostProcess
from detectors.ranges import Count
from detectors.structures import Candidates, Detections, Priors, Proposals


class FittedDetector(nn.Module):
    """Images to detections, as a `detector.Detector`; what it has instead of a loss are stages.

    It computes in float32 whatever number format the trainer has.

    Args:
        fitted: finds windows in a picture.
        postprocess: from candidates to detections.
        num_classes: of the data.

    Raises:
        ValueError: a part lacks an attribute of its contract.
    """

    classes: tuple[str, ...] = ()  # names of the labels, of a detector from a checkpoint

    def __init__(self, fitted: Fitted, postprocess: PostProcess, num_classes: Count) -> None:
        super().__init__()
        check_contract(fitted, Fitted)
        check_contract(postprocess, PostProcess)
        self.fitted, self.postprocess, self.num_classes = fitted, postprocess, num_classes

    @torch.no_grad()
    def forward(
        self, images: Tensor, frames: Tensor | None = None, proposals: Proposals | None = None
    ) -> Detections:
        """Detections in pixels of the images.

        Args:
            images: [B, 3, H, W] uint8, or float in 0..255, RGB.
            frames: [B, 4] the part of each image that the picture fills; all of it if None.
            proposals: what a model looks at that needs them.

        Raises:
            ValueError: the model is not fitted yet; proposals are given that it does not look at,
                or those that it needs are not given.
        """
        if frames is None:
            height, width = images.shape[-2:]
            frames = torch.tensor([0.0, 0.0, width, height], device=images.device)
            frames = frames.expand(len(images), 4)
        return self.postprocess(self.candidates(images, frames, proposals), frames)

    @property
    def most_found(self) -> int | None:
        """As of a `detector.Detector`."""
        return self.postprocess.detections

    @torch.no_grad()
    def candidates(
        self, images: Tensor, frames: Tensor, proposals: Proposals | None = None
    ) -> Candidates:
        """All windows that the scan finds, padded with empty ones; arguments as `forward`."""
        if images.is_meta:
            raise ValueError(
                "what a fitted model computes depends on the pictures, so it is not counted"
            )
        self.fitted.check_fitted()
        given = self._given(proposals, len(images))
        with torch.autocast(images.device.type, enabled=False):
            found = [self._scanned(*one) for one in zip(images, frames, given, strict=True)]
        return _padded(found, images, self.num_classes)

    def _given(self, proposals: Proposals | None, images: int) -> list[tuple[np.ndarray, ...]]:
        """The further arguments of the scan of each image, in pixels of the image."""
        name = type(self.fitted).__name__
        if proposals is None and self.fitted.needs_proposals:
            raise ValueError(
                f"this {name} was fitted to proposals of a file, and here are none: give "
                "data.proposals=FILE, which `detectors propose` makes"
            )
        if proposals is not None and not self.fitted.needs_proposals:
            raise ValueError(
                f"proposals are given, but this {name} looks at none of others: build it with "
                "data.proposals=FILE"
            )
        if proposals is None:
            return [()] * images
        pairs = zip(proposals.boxes.cpu(), proposals.valid.cpu(), strict=True)
        return [(boxes[valid].numpy(),) for boxes, valid in pairs]

    def fused(self, images: Tensor) -> "FittedDetector":
        """Itself: there is nothing to fold."""
        return self

    def _scanned(self, image: Tensor, frame: Tensor, given: tuple[np.ndarray, ...]) -> Windows:
        """What is found in the picture that the frame cuts out, in pixels of the image.

        Windows that do not show in the picture are left out.
        """
        left, top, right, bottom = np.rint(frame.cpu().numpy()).astype(int).tolist()
        if image.dtype != torch.uint8:
            image = image.round().clamp(0, 255).to(torch.uint8)
        shown = image[:, top:bottom, left:right].permute(1, 2, 0).cpu().numpy()
        shift = np.array([left, top, left, top], np.float32)
        windows = self.fitted.scan(np.ascontiguousarray(shown), *(boxes - shift for boxes in given))
        boxes = windows.boxes.astype(np.float32) + shift
        cut = boxes.clip([left, top] * 2, [right, bottom] * 2)
        real = (cut[:, 2:] > cut[:, :2]).all(axis=1)
        return Windows(boxes[real], windows.scores[real], windows.labels[real])


def _padded(found: list[Windows], images: Tensor, classes: int) -> Candidates:
    """Candidates [B, N] of windows; a window scores in its own class alone."""
    most = max(1, *(len(windows.scores) for windows in found))
    boxes = np.zeros((len(found), most, 4), np.float32)
    scores = np.zeros((len(found), most, classes), np.float32)
    for row, windows in enumerate(found):
        count = len(windows.scores)
        boxes[row, :count] = windows.boxes
        scores[row, np.arange(count), windows.labels] = windows.scores
    height, width = images.shape[-2:]
    placed = torch.from_numpy(boxes).to(images.device)
    ones = torch.ones(most, device=images.device)
    priors = Priors(placed, ones, (most,), (height, width))
    return Candidates(placed, torch.from_numpy(scores).to(images.device), priors)
