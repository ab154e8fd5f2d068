"""A regular grid of windows over a picture."""

import math
from collections.abc import Sequence

import numpy as np

SIDES, RATIOS, STEP = (1.0, 0.5, 0.25, 0.125), (0.5, 1.0, 2.0), 0.5


def unit_windows(
    sides: Sequence[float] = SIDES, ratios: Sequence[float] = RATIOS, step: float = STEP
) -> np.ndarray:
    """[n, 4] float64 xyxy in parts of a picture's width and height, no two of them equal.

    Args:
        sides: of the square windows, in (0, 1].
        ratios: of width to height in these parts, at the same area; a window is cut to the picture.
        step: between neighbours at most, in parts of their side.
    """
    found = [_of_shape(side, ratio, step) for side in sides for ratio in ratios]
    _, first = np.unique(np.concatenate(found).round(9), axis=0, return_index=True)
    return np.concatenate(found)[np.sort(first)]


def _of_shape(side: float, ratio: float, step: float) -> np.ndarray:
    width, height = min(side * math.sqrt(ratio), 1.0), min(side / math.sqrt(ratio), 1.0)
    y, x = np.meshgrid(_starts(height, step), _starts(width, step), indexing="ij")
    return np.stack([x, y, x + width, y + height], axis=-1).reshape(-1, 4)


def _starts(side: float, step: float) -> np.ndarray:
    """Evenly from one end of the picture to the other."""
    count = math.ceil((1 - side) / (step * side) - 1e-9) + 1
    return np.linspace(0, 1 - side, count)
