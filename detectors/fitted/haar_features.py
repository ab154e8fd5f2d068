"""Haar features: weighted sums over two or three rectangles of a window."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from detectors.fitted.integral import upright_corners

SIGNS = np.array([1, -1, -1, 1], np.int32)  # of the four corners of a rectangle

# Cells across and down; the rectangles in cells (x, y, width, height) and their weights. The whole
# comes first, and the weighted areas sum to 0, so that brighter light changes nothing.
_KINDS = (
    ((2, 1), ((0, 0, 2, 1), (1, 0, 1, 1)), (-1, 2)),
    ((1, 2), ((0, 0, 1, 2), (0, 1, 1, 1)), (-1, 2)),
    ((3, 1), ((0, 0, 3, 1), (1, 0, 1, 1)), (-1, 3)),
    ((1, 3), ((0, 0, 1, 3), (0, 1, 1, 1)), (-1, 3)),
    ((2, 2), ((0, 0, 2, 2), (0, 0, 1, 1), (1, 1, 1, 1)), (-1, 2, 2)),
)


class HaarFeatures(NamedTuple):
    """F features of one window; a rectangle that a feature lacks is empty and weighs 0."""

    rectangles: np.ndarray  # [F, 3, 4] int32, x, y, width and height in pixels of the window
    weights: np.ndarray  # [F, 3] float32
    tilted: np.ndarray  # [F] bool: rectangles stand at 45 degrees, as `tilted_corners`

    def take(self, rows: np.ndarray) -> "HaarFeatures":
        """The features of these rows, int or bool."""
        return HaarFeatures(*(values[rows] for values in self))


def all_features(height: int, width: int) -> HaarFeatures:
    """Every upright feature of two, three and four cells: 162,336 for 24 x 24.

    Viola & Jones 2004, sec. 2; four cells are written as the whole and the two on a diagonal. A
    middle cell weighs 2 against 1 of its neighbours, which the paper leaves unbalanced.
    """
    kinds = [_of_kind(cells, parts, weights, (height, width)) for cells, parts, weights in _KINDS]
    return HaarFeatures(*(np.concatenate(parts) for parts in zip(*kinds, strict=True)))


def corner_matrix(features: HaarFeatures, height: int, width: int) -> sparse.csr_array:
    """[F, (height + 1)(width + 1)] int32: what turns the integral image of a window to features.

    Args:
        features: upright, with whole weights.
        height, width: of the window.
    """
    points = upright_corners(features.rectangles)  # [F, 3, 4, 2]
    columns = points[..., 1] * (width + 1) + points[..., 0]
    factors = features.weights.astype(np.int32)[..., None] * SIGNS
    rows = np.broadcast_to(np.arange(len(points))[:, None, None], columns.shape)
    shape = (len(points), (height + 1) * (width + 1))
    entries = (factors.ravel(), (rows.ravel(), columns.ravel()))
    matrix = sparse.coo_array(entries, shape=shape, dtype=np.int32).tocsr()
    matrix.eliminate_zeros()
    return matrix


def _of_kind(
    cells: tuple[int, int],
    parts: tuple[tuple[int, int, int, int], ...],
    weights: tuple[int, ...],
    window: tuple[int, int],
) -> HaarFeatures:
    """All sizes and places of one kind, ordered by cell height, cell width, y and x."""
    across, down = cells
    height, width = window
    grid = np.meshgrid(
        np.arange(1, height // down + 1),
        np.arange(1, width // across + 1),
        np.arange(height),
        np.arange(width),
        indexing="ij",
    )
    tall, wide, y, x = (values.ravel() for values in grid)
    inside = (y + tall * down <= height) & (x + wide * across <= width)
    tall, wide, y, x = (values[inside] for values in (tall, wide, y, x))
    rectangles = np.zeros((len(x), 3, 4), np.int32)
    for i, (left, top, columns, rows) in enumerate(parts):
        sides = (x + left * wide, y + top * tall, columns * wide, rows * tall)
        rectangles[:, i] = np.stack(sides, axis=-1)
    filled = np.zeros((len(x), 3), np.float32)
    filled[:, : len(weights)] = weights
    return HaarFeatures(rectangles, filled, np.zeros(len(x), bool))
