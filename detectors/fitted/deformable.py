"""Mixtures of a root filter and parts that may move (Felzenszwalb et al. 2010, sec. 3).

A part is looked for at twice the resolution of the root, with cells of half the side.
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from detectors.fitted.distance_transform import best_placement
from detectors.fitted.fhog import CHANNELS, fhog, padded

CELL = 8  # pixels of a root's cell
REACH = 4  # cells that a part may be moved, voc-release5
BIAS = 10.0  # what the bias is multiplied by, so that it is hardly regularised
MOVES = 4  # numbers of a deformation: the costs of dx^2, dx, dy^2 and dy


class Component(NamedTuple):
    """One aspect of an object: a root filter and P parts of S x S cells."""

    root: np.ndarray  # [h, w, 32] float32
    parts: np.ndarray  # [P, S, S, 32] float32
    anchors: np.ndarray  # [P, 2] int64, y and x in cells of parts from the root's corner
    deformations: np.ndarray  # [P, 4] float32
    bias: float

    def vector(self) -> np.ndarray:
        """[D] float64: root, parts, deformations and bias, as `placed_features` orders them."""
        numbers = (self.root, self.parts, self.deformations, np.array([self.bias]))
        return np.concatenate([np.asarray(part, np.float64).ravel() for part in numbers])

    def with_vector(self, vector: np.ndarray) -> "Component":
        """The component with these numbers."""
        sizes = [self.root.size, self.parts.size, self.deformations.size]
        root, parts, deformations, bias = np.split(vector, np.cumsum(sizes))
        return self._replace(
            root=root.reshape(self.root.shape).astype(np.float32),
            parts=parts.reshape(self.parts.shape).astype(np.float32),
            deformations=deformations.reshape(-1, MOVES).astype(np.float32),
            bias=float(bias[0]),
        )


class FeatureLevel(NamedTuple):
    """The features of a picture at one scale, with cells around it."""

    scale: float  # pixels of the picture per pixel of the level
    around: int  # cells around the coarse map, half of those around the fine one
    coarse: np.ndarray  # [h, w, 32], cells of roots
    fine: np.ndarray  # [2h, 2w, 32] or about so many, cells of parts


class Placements(NamedTuple):
    """How well a component fits at each place of its root in a level."""

    scores: np.ndarray  # [h, w] float32
    parts: np.ndarray  # [P, h, w, 2] int64, y and x in the fine map


class Placement(NamedTuple):
    """Where a component was put in a level."""

    component: int
    level: int
    y: int  # of the root in the coarse map
    x: int
    parts: np.ndarray  # [P, 2] int64, y and x in the fine map
    score: float


def feature_levels(picture: np.ndarray, interval: int, around: int) -> list[FeatureLevel]:
    """Scales of a picture, `interval` of them in each octave, down to 5 cells (voc-release5).

    Each is resized from the picture by areas.

    Args:
        picture: [H, W, 3] uint8.
        around: cells outside the picture into which roots may reach.
    """
    short = min(picture.shape[:2])
    count = max(0, 1 + int(np.floor(np.log2(short / (5 * CELL)) * interval)))
    return [_level(picture, 2 ** (number / interval), around) for number in range(count)]


def placements(component: Component, level: FeatureLevel) -> Placements:
    """Scores of all places of the root, each with the best places of the parts (sec. 3.1, eq. 7).

    Roots whose parts would lie beyond the map at their anchors are left out.
    """
    scores = correlated(level.coarse, component.root) + np.float32(BIAS * component.bias)
    side = component.parts.shape[1]
    rows, columns = scores.shape
    for y, x in component.anchors:
        rows = min(rows, (level.fine.shape[0] - side - y) // 2 + 1)
        columns = min(columns, (level.fine.shape[1] - side - x) // 2 + 1)
    rows, columns = max(rows, 0), max(columns, 0)
    scores = scores[:rows, :columns]
    where = np.zeros((len(component.parts), rows, columns, 2), np.int64)
    if scores.size:
        for i, (part, (y, x)) in enumerate(zip(component.parts, component.anchors, strict=True)):
            fits, dy, dx = best_placement(
                correlated(level.fine, part), component.deformations[i], REACH
            )
            seen = np.s_[y : y + 2 * rows : 2, x : x + 2 * columns : 2]
            scores = scores + fits[seen]
            where[i, ..., 0] = y + 2 * np.arange(rows)[:, None] + dy[seen]
            where[i, ..., 1] = x + 2 * np.arange(columns) + dx[seen]
    return Placements(scores, where)


def correlated(features: np.ndarray, filter_: np.ndarray) -> np.ndarray:
    """Responses [h - a + 1, w - b + 1] float32 of a filter [a, b, 32] at all places of a map."""
    rows, columns = (
        max(m - f + 1, 0) for m, f in zip(features.shape[:2], filter_.shape[:2], strict=True)
    )
    if not rows or not columns:
        return np.zeros((rows, columns), np.float32)
    maps = torch.from_numpy(np.ascontiguousarray(features.transpose(2, 0, 1)))[None]
    weights = torch.from_numpy(np.ascontiguousarray(filter_.transpose(2, 0, 1)))[None]
    return torch.nn.functional.conv2d(maps, weights)[0, 0].numpy()


def placed_features(
    component: Component, level: FeatureLevel, y: int, x: int, parts: np.ndarray
) -> np.ndarray:
    """[D] float32: the score of a placement is its product with the component's `vector`.

    Args:
        y, x: of the root in the coarse map.
        parts: [P, 2] y and x in the fine map.
    """
    height, width = component.root.shape[:2]
    side = component.parts.shape[1]
    root = level.coarse[y : y + height, x : x + width]
    windows = [level.fine[v : v + side, u : u + side].ravel() for v, u in parts]
    dy, dx = (parts - component.anchors - 2 * np.array([y, x])).T
    moves = -np.stack([dx * dx, dx, dy * dy, dy], axis=-1)
    return np.concatenate([root.ravel(), *windows, moves.ravel(), [BIAS]]).astype(np.float32)


def root_boxes(
    component: Component, level: FeatureLevel, y: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """Boxes [n, 4] xyxy in pixels of the picture, of roots at these places."""
    corners = (np.stack([x, y], axis=-1) - level.around) * (CELL * level.scale)
    sides = np.array(component.root.shape[1::-1]) * (CELL * level.scale)
    return np.concatenate([corners, corners + sides], axis=-1)


def with_parts(component: Component, count: int, side: int, share: float = 0.1) -> Component:
    """The component with parts cut out of its root where it has most energy (sec. 5.2).

    The root is enlarged twice by cubic interpolation. One after the other, parts cover the square
    with most positive energy that is not yet covered; they begin with `share` of its weights.
    """
    height, width = component.root.shape[:2]
    large = cv2.resize(component.root, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
    side = min(side, 2 * height, 2 * width)
    energy = np.square(large.clip(min=0)).sum(axis=-1)
    anchors, parts = [], []
    for _ in range(count):
        sums = sliding_window_view(energy, (side, side)).sum(axis=(-1, -2))
        y, x = np.unravel_index(sums.argmax(), sums.shape)
        anchors.append((y, x))
        parts.append(share * large[y : y + side, x : x + side])
        energy[y : y + side, x : x + side] = 0
    moves = np.tile(np.array([0.01, 0, 0.01, 0], np.float32), (count, 1))
    return component._replace(
        parts=np.array(parts, np.float32), anchors=np.array(anchors, np.int64), deformations=moves
    )


def root_only(height: int, width: int, side: int) -> Component:
    """A component of zeros without parts."""
    return Component(
        np.zeros((height, width, CHANNELS), np.float32),
        np.zeros((0, side, side, CHANNELS), np.float32),
        np.zeros((0, 2), np.int64),
        np.zeros((0, MOVES), np.float32),
        0.0,
    )


def _level(picture: np.ndarray, scale: float, around: int) -> FeatureLevel:
    size = tuple(max(1, round(side / scale)) for side in picture.shape[1::-1])
    image = picture if scale == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    coarse, fine = fhog(image, CELL), fhog(image, CELL // 2)
    # one cell more, so that the corner of a map lies `around` cells before that of the picture
    return FeatureLevel(
        scale,
        around,
        padded(coarse, around + 1, around + 1),
        padded(fine, 2 * around + 1, 2 * around + 1),
    )
