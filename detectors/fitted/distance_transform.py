"""The best place of a part near each place of its anchor (Felzenszwalb et al. 2010, sec. 3.1)."""

import numpy as np


def best_scores(responses: np.ndarray, deformations: np.ndarray, reach: int = 4) -> np.ndarray:
    """How well parts fit near each cell: the generalised distance transform.

    At (y, x) the largest response at (y + dy, x + dx) less what this displacement costs. It is
    found for rows and columns in turn, exactly.

    Args:
        responses: [P, h, w] float32, of the filters of the parts.
        deformations: [P, 4] costs of dx^2, dx, dy^2 and dy.
        reach: cells that a part may be moved along each axis.

    Returns:
        [P, h, w] float32.
    """
    costs = np.asarray(deformations, np.float32)[..., None, None]
    along = _best(responses, costs[:, 0], costs[:, 1], reach, axis=2)
    return _best(along, costs[:, 2], costs[:, 3], reach, axis=1)


def best_displacements(
    responses: np.ndarray, deformations: np.ndarray, anchors: np.ndarray, reach: int = 4
) -> np.ndarray:
    """The displacements that give `best_scores` at some cells.

    Of equally good ones that with the smaller dy, then with the smaller dx.

    Args:
        responses, deformations, reach: as there.
        anchors: [n, P, 2] int64, y and x of a cell for each part.

    Returns:
        [n, P, 2] int64, dy and dx.
    """
    steps = sorted(range(-reach, reach + 1), key=abs)
    dy, dx = (part.ravel() for part in np.meshgrid(steps, steps, indexing="ij"))
    sides = ((0, 0), (reach, reach), (reach, reach))
    wider = np.pad(responses, sides, constant_values=-np.inf)
    rows, columns = anchors[..., :1] + reach + dy, anchors[..., 1:] + reach + dx
    offered = wider[np.arange(len(responses))[:, None], rows, columns]
    moves = np.stack([dx * dx, dx, dy * dy, dy]).astype(np.float32)
    best = (offered - np.asarray(deformations, np.float32) @ moves).argmax(axis=-1)
    return np.stack([dy[best], dx[best]], axis=-1)


def _best(
    responses: np.ndarray, square: np.ndarray, linear: np.ndarray, reach: int, axis: int
) -> np.ndarray:
    """As `best_scores`, along one axis."""
    length = responses.shape[axis]
    most = min(reach, length - 1)
    best = responses.copy()
    for step in (step for step in range(-most, most + 1) if step):
        here, there = [slice(None)] * 3, [slice(None)] * 3
        here[axis] = slice(max(-step, 0), length - max(step, 0))
        there[axis] = slice(max(step, 0), length - max(-step, 0))
        offered = responses[tuple(there)] - (square * (step * step) + linear * step)
        np.maximum(best[tuple(here)], offered, out=best[tuple(here)])
    return best
