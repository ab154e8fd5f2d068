"""The best place of a part near each place of its anchor (Felzenszwalb et al. 2010, sec. 3.1)."""

import numpy as np


def best_placement(
    response: np.ndarray, deformation: np.ndarray, reach: int | None = 4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How well a part fits near each cell, and where: the generalised distance transform.

    At (y, x) the largest response at (y + dy, x + dx) less what this displacement costs. It is
    found for rows and columns in turn, exactly.

    Args:
        response: [h, w] float32, of the filter of the part.
        deformation: costs of dx^2, dx, dy^2 and dy.
        reach: cells that a part may be moved along each axis; None: as far as the map goes.

    Returns:
        [h, w] scores, and the displacements dy and dx [h, w] int64 that give them. Of equally good
        ones the smaller.
    """
    wide, right, tall, down = (float(value) for value in deformation)
    along, dx = _along(response, wide, right, reach)
    score, dy = _along(along.T, tall, down, reach)
    score, dy = score.T, dy.T
    rows = np.arange(len(score))[:, None] + dy
    return score, dy, np.take_along_axis(dx, rows, axis=0)


def _along(
    response: np.ndarray, square: float, linear: float, reach: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """As `best_placement`, in each row; the displacements [h, w]."""
    width = response.shape[1]
    most = width - 1 if reach is None else min(reach, width - 1)
    best, moved = response.copy(), np.zeros(response.shape, np.int64)
    for step in sorted(range(-most, most + 1), key=abs)[1:]:
        here = slice(max(-step, 0), width - max(step, 0))
        there = slice(max(step, 0), width - max(-step, 0))
        offered = response[:, there] - np.float32(square * step * step + linear * step)
        better = offered > best[:, here]
        best[:, here][better] = offered[better]
        moved[:, here][better] = step
    return best, moved
