"""Windows that stand in the place of proposals where none come with the images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detectors.ops.windows import RATIOS, SIDES, STEP, unit_windows
from detectors.ranges import Positive, Share
from detectors.structures import Proposals


class WindowGrid(nn.Module):
    """The same regular grid of windows in the frame of each image.

    Fast R-CNN, sec. 5.5, tries dense boxes instead of selective search.

    Args:
        sides, ratios, step: of `ops.windows.unit_windows`.
    """

    unit: Tensor

    def __init__(
        self,
        sides: Sequence[Share] = SIDES,
        ratios: Sequence[Positive] = RATIOS,
        step: Positive = STEP,
    ) -> None:
        super().__init__()
        windows = torch.tensor(unit_windows(sides, ratios, step).tolist())
        self.register_buffer("unit", windows, persistent=False)

    def forward(self, frames: Tensor) -> Proposals:
        """P windows of each frame [B, 4]."""
        corner, end = frames[:, None, :2], frames[:, None, 2:]
        boxes = self.unit * (end - corner).repeat(1, 1, 2) + corner.repeat(1, 1, 2)
        return Proposals(boxes, torch.ones_like(boxes[..., 0], dtype=torch.bool))
