"""Dense windows: the same grid of boxes for every picture."""

import numpy as np

from detectors.data.proposals import Method
from detectors.data.ranges import check
from detectors.ops.windows import RATIOS, unit_windows
from detectors.ranges import Positive, Share


class DenseWindows(Method):
    """Windows of several sizes and shapes on a regular grid, in random order.

    Args:
        sides: of square windows, in parts of the picture's width and height.
        ratios: of width to height in these parts, at the same area.
        step: between neighbours at most, in parts of their side.

    Raises:
        ValueError: a side is out of (0, 1], or the step is 0.
    """

    def __init__(
        self,
        sides: tuple[Share, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625),
        ratios: tuple[Positive, ...] = RATIOS,
        step: Positive = 0.5,
    ) -> None:
        inside = all(0 < side <= 1 for side in sides)
        check("method=dense", (inside, f"sides in (0, 1], found {list(sides)}"))
        self.windows = unit_windows(sides, ratios, step)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """As `Method`."""
        height, width = image.shape[:2]
        boxes = rng.permutation(self.windows) * [width, height, width, height]
        return boxes.astype(np.float32)
