"""The network that is exported, and what cannot be."""

import torch
from torch import Tensor, nn

from detectors.detector import Detector
from detectors.heads.localization import Refinement
from detectors.postprocess import Fusion, Matrix, Soft, VarianceVoting

DETECTED = ("boxes", "scores", "labels", "valid")  # outputs; see `outputs` without suppression
# Loops over images or boxes, and what needs a gradient.
ONE_BY_ONE = (Soft, Matrix, Fusion, VarianceVoting)


class ExportedNetwork(nn.Module):
    """From canvases and frames to tensors, which have the names of `outputs`.

    Args:
        detector: in evaluation mode.
        suppression: whether detections come out, as `Detections`; else the boxes and scores of all
            candidates, as `Candidates`, of regions perhaps with a box for each class; and what else
            the head tells of them, without which its suppression could not be done.

    Raises:
        ValueError: the suppression is one that cannot be exported.
    """

    def __init__(self, detector: Detector, suppression: bool) -> None:
        super().__init__()
        check_suppression(detector, suppression)
        self.detector, self.suppression = detector, suppression
        self.outputs = DETECTED if suppression else (*DETECTED[:2], *detector.head.tells)

    def forward(self, images: Tensor, frames: Tensor) -> tuple[Tensor, ...]:
        """The outputs for images [B, 3, H, W] uint8 and frames [B, 4]."""
        if self.suppression:
            return tuple(self.detector(images, frames))
        candidates = self.detector.candidates(images, frames)._asdict()
        return tuple(candidates[name] for name in self.outputs)


def check_suppression(detector: Detector, suppression: bool) -> None:
    """Refuse suppressors whose steps depend on the data in a way that a graph cannot express.

    Raises:
        ValueError: names it and the remedy.
    """
    seen = detector if suppression else detector.head
    for name, module in seen.named_modules():
        if isinstance(module, ONE_BY_ONE):
            kinds = f"{type(module).__name__} (soft-NMS, Matrix NMS, box fusion and voting)"
            remedy = (
                "write the candidates and suppress them yourself with suppression=false"
                if name.startswith("postprocess")
                else "train with a greedy one"
            )
            raise ValueError(f"{name}: suppression by {kinds} cannot be exported: {remedy}")
        if suppression and isinstance(module, Refinement):
            raise ValueError(
                f"{name}: refinement by a gradient cannot be exported: write the candidates with "
                "suppression=false, or train with part.localization.refinement=null"
            )


def example(canvas: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Two grey canvases and their frames, from which shapes are read."""
    height, width = canvas
    frames = torch.tensor([[0.0, 0.0, width, height]]).repeat(2, 1)
    return torch.full((2, 3, height, width), 114, dtype=torch.uint8), frames
