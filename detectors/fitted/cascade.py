"""A cascade of boosted trees on Haar features, and what its stages say of windows.

What is computed, and in which precision, is what OpenCV 4.12 computes (`CascadeClassifier`), so
that a file of its format finds the same windows.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from detectors.fitted.haar_features import HaarFeatures
from detectors.fitted.integral import tilted_corners, upright_corners

SLACK = np.float32(1e-5)  # that the sum of a stage may be below its threshold
LEAST_DEVIATION = 10.0  # grey levels: windows that vary less are no object
_BLOCK = 1 << 14  # values computed at once, so that they stay in the cache
_DENSE = 1 / 4  # of a block: where more is asked for, reading all of it takes less time
_LONG = 1 << 12  # windows: of so many, one node after the other takes less time


class Cascade(NamedTuple):
    """S stages of T trees with N nodes and N + T leaves in all.

    A window passes a stage if the leaves that it reaches sum to the threshold or more. At a node
    it goes left if the feature is below the threshold, else right. Branches number the nodes and
    leaves of the whole cascade from 0; that to a leaf is the complement of its number, so it is
    negative.
    """

    height: int  # of the window in pixels
    width: int
    features: HaarFeatures
    stages: np.ndarray  # [S + 1] int64: stage s has the trees stages[s] to stages[s + 1] - 1
    stage_thresholds: np.ndarray  # [S] float32
    trees: np.ndarray  # [T + 1] int64: tree t has the nodes trees[t] to trees[t + 1] - 1
    feature: np.ndarray  # [N] int64
    threshold: np.ndarray  # [N] float32
    branches: np.ndarray  # [N, 2] int64, left and right
    leaves: np.ndarray  # [N + T] float32


class Buffer(NamedTuple):
    """Integral images side by side on one sheet, flat.

    Where windows stand `step` pixels apart, the sheet is dealt out to step x step smaller ones, by
    row and column modulo step. So places of neighbouring windows are neighbours too.
    """

    sums: np.ndarray  # [n] int32: the upright ones, then the tilted ones if they are used
    squares: np.ndarray  # [n] uint32
    step: int  # pixels between two windows
    rows: int  # of each smaller sheet
    columns: int

    def place(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Where the sum at a point of the sheet is; for points after a corner, how far after it."""
        part = y % self.step * self.step + x % self.step
        return (part * self.rows + y // self.step) * self.columns + x // self.step

    @property
    def tilted(self) -> int:
        """How far after an upright sum the tilted one is."""
        return self.step**2 * self.rows * self.columns


class CascadeStage(NamedTuple):
    """A stage for integral images in a buffer: n nodes, t trees, l leaves of its own."""

    corners: np.ndarray  # [3, 4, n] int64, of the rectangles, from the corner of a window
    weights: np.ndarray  # [3, n] float32
    threshold: np.ndarray  # [n] float32
    roots: np.ndarray  # [t] int64, rows of nodes
    branches: np.ndarray  # [n, 2] int64, rows of nodes or complements of rows of leaves
    leaves: np.ndarray  # [l] float64
    least: float  # sum with which a window passes
    depth: int  # nodes on the longest way to a leaf


def stages_for(cascade: Cascade, buffer: Buffer) -> list[CascadeStage]:
    """The stages of a cascade, with its rectangles as places in a buffer."""
    rectangles, _, tilted = cascade.features
    points = np.where(
        tilted[:, None, None, None], tilted_corners(rectangles), upright_corners(rectangles)
    )
    places = buffer.place(points[..., 0], points[..., 1])  # [F, 3, 4]
    places += np.where(tilted, buffer.tilted, 0)[:, None, None]
    return [_stage(cascade, s, places) for s in range(len(cascade.stage_thresholds))]


def normalised(cascade: Cascade, buffer: Buffer, windows: np.ndarray) -> np.ndarray:
    """Factors [n] float32 of the features of windows; 0 where a window varies too little.

    They are 1 over area and standard deviation of the inside, which is a pixel smaller all round.

    Args:
        windows: [n] int64, places of their upper left corners in the buffer.
    """
    inside = np.array([1, 1, cascade.width - 2, cascade.height - 2])
    corners = buffer.place(*upright_corners(inside).T)
    area = float(inside[2] * inside[3])
    total = _rectangle(buffer.sums, corners, windows).astype(np.float64)
    spread = area * _rectangle(buffer.squares, corners, windows) - total * total
    varied = spread > 0
    factors = (1 / np.sqrt(np.where(varied, spread, 1))).astype(np.float32)
    varied &= area * factors.astype(np.float64) < 1 / LEAST_DEVIATION
    return np.where(varied, factors, np.float32(0))


def stage_sums(
    stage: CascadeStage, buffer: Buffer, windows: np.ndarray, factors: np.ndarray
) -> np.ndarray:
    """What the trees of a stage say of windows, [n] float64.

    Args:
        windows: [n] int64, rising, places of their upper left corners in the buffer.
        factors: [n] float32, as `normalised`.
    """
    sums = np.empty(len(windows))
    few = max(1, _BLOCK // len(stage.threshold))
    for start, stop in _blocks(windows):
        if stop - start > _DENSE * _BLOCK:
            part = slice(start, stop)
            sums[part] = _of_block(stage, buffer.sums, windows[part], factors[part])
            continue
        for first in range(start, stop, few):
            part = slice(first, min(first + few, stop))
            values = _values(stage, buffer.sums, windows[part]) * factors[part]
            sums[part] = _leaf_sums(stage, values < stage.threshold[:, None])
    return sums


def _stage(cascade: Cascade, number: int, places: np.ndarray) -> CascadeStage:
    trees = cascade.trees[cascade.stages[number] : cascade.stages[number + 1] + 1]
    first, last = trees[0], trees[-1]
    first_leaf = first + cascade.stages[number]
    branches = cascade.branches[first:last]
    features = cascade.feature[first:last]
    return CascadeStage(
        np.moveaxis(places[features], 0, -1),
        cascade.features.weights[features].T,
        cascade.threshold[first:last],
        trees[:-1] - first,
        np.where(branches < 0, branches + first_leaf, branches - first),
        cascade.leaves[first_leaf : last + cascade.stages[number + 1]].astype(np.float64),
        float(cascade.stage_thresholds[number] - SLACK),
        int(np.diff(trees).max()),
    )


def _blocks(windows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Rows of the windows that lie in one block of the buffer, from and to."""
    if len(windows):
        edges = np.arange(windows[0] // _BLOCK, windows[-1] // _BLOCK + 2) * _BLOCK
        yield from itertools.pairwise(np.searchsorted(windows, edges).tolist())


def _rectangle(sums: np.ndarray, corners: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Sums over a rectangle of each window, [n]; or over many, [r, n] for corners [4, r]."""
    a, b, c, d = (sums.take(corner[..., None] + windows) for corner in corners)
    a -= b
    a -= c
    a += d
    return a


def _values(stage: CascadeStage, sums: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Features [n, w] float32 of w windows, not yet normalised."""
    weights = stage.weights[..., None]
    values = weights[0] * _rectangle(sums, stage.corners[0], windows).astype(np.float32)
    values += weights[1] * _rectangle(sums, stage.corners[1], windows).astype(np.float32)
    (third,) = stage.weights[2].nonzero()
    rest = _rectangle(sums, stage.corners[2][:, third], windows).astype(np.float32)
    values[third] += weights[2][third] * rest
    return values


def _of_block(
    stage: CascadeStage, sums: np.ndarray, windows: np.ndarray, factors: np.ndarray
) -> np.ndarray:
    """As `stage_sums`, by asking all places from the first window to the last.

    Neighbours are read together, several times faster than each by itself.
    """
    first, count = windows[0], windows[-1] - windows[0] + 1
    asked = windows - first
    everywhere = np.zeros(count, np.float32)
    everywhere[asked] = factors
    left = np.empty((len(stage.threshold), count), bool)
    for i, threshold in enumerate(stage.threshold):
        values = np.zeros(count, np.float32)
        for corners, weight in zip(stage.corners[..., i], stage.weights[:, i], strict=True):
            if weight:
                values += weight * _slices(sums, corners + first, count).astype(np.float32)
        np.less(np.multiply(values, everywhere, out=values), threshold, out=left[i])
    return _leaf_sums(stage, left)[asked]


def _slices(sums: np.ndarray, corners: np.ndarray, count: int) -> np.ndarray:
    a, b, c, d = (sums[corner : corner + count] for corner in corners)
    total = a - b
    total -= c
    total += d
    return total


def _leaf_sums(stage: CascadeStage, left: np.ndarray) -> np.ndarray:
    """Sums [w] float64 of the leaves of w windows, from whether each goes left at a node [n, w].

    One tree is added after the other, in whichever way.
    """
    if stage.depth > 1:
        return _leaves(stage, left).sum(axis=0)
    one, other = stage.leaves[~stage.branches].T
    if left.shape[1] < _LONG:
        return np.where(left, one[:, None], other[:, None]).sum(axis=0)
    total = np.zeros(left.shape[1])
    for row, values in zip(left, np.stack([other, one], axis=-1), strict=True):
        total += np.where(row, values[1], values[0])
    return total


def _leaves(stage: CascadeStage, left: np.ndarray) -> np.ndarray:
    """Leaves [t, w] float64 that w windows reach, from whether each goes left at a node [n, w]."""
    left_branch, right_branch = stage.branches.T
    roots = stage.roots
    at = np.where(left[roots], left_branch[roots, None], right_branch[roots, None])
    columns = np.arange(left.shape[1])
    for _ in range(stage.depth - 1):
        node = at.clip(min=0)
        further = np.where(left[node, columns], left_branch[node], right_branch[node])
        at = np.where(at < 0, at, further)
    return stage.leaves[~at]
