"""Mixtures of a root filter and parts that may move (Felzenszwalb et al. 2010, sec. 3).

A part is looked for at twice the resolution of the root, with cells of half the side.
"""

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from detectors.fitted.distance_transform import best_displacements, best_scores
from detectors.fitted.fhog import CHANNELS, fhogs, mirrored, padded

CELL = 8  # pixels of a root's cell
REACH = 4  # cells that a part may be moved, voc-release5
BIAS = 10.0  # what the bias is multiplied by, so that it is hardly regularised
MOVES = 4  # numbers of a deformation: the costs of dx^2, dx, dy^2 and dy
STARTS, SWEEPS = 25, 10  # of the search for one side, voc-release5
OCTAVES = 2  # that are told apart by a root's scale: the first, and all above


class Component(NamedTuple):
    """One aspect of an object: a root filter and P parts of S x S cells."""

    root: np.ndarray  # [h, w, 32] float32
    parts: np.ndarray  # [P, S, S, 32] float32
    anchors: np.ndarray  # [P, 2] int64, y and x in cells of parts from the root's corner
    deformations: np.ndarray  # [P, 4] float32
    bias: float
    octaves: np.ndarray  # [2] float32, added to the score in each octave of the root's scale

    def vector(self) -> np.ndarray:
        """[D] float64: all numbers but the anchors, as `placed_features` orders them."""
        own = (self.root, self.parts, self.deformations, np.array([self.bias]), self.octaves)
        return np.concatenate([np.asarray(part, np.float64).ravel() for part in own])

    def with_vector(self, vector: np.ndarray) -> "Component":
        """The component with these numbers."""
        sizes = [self.root.size, self.parts.size, self.deformations.size, 1]
        root, parts, deformations, bias, octaves = np.split(vector, np.cumsum(sizes))
        return self._replace(
            root=root.reshape(self.root.shape).astype(np.float32),
            parts=parts.reshape(self.parts.shape).astype(np.float32),
            deformations=deformations.reshape(-1, MOVES).astype(np.float32),
            bias=float(bias[0]),
            octaves=octaves.astype(np.float32),
        )

    def mirrored(self) -> "Component":
        """The one that fits mirror images as this one fits pictures."""
        y, x = self.anchors.T
        turned = 2 * self.root.shape[1] - self.parts.shape[2] - x
        return self._replace(
            root=np.ascontiguousarray(mirrored(self.root)),
            parts=np.ascontiguousarray(mirrored(self.parts)),
            anchors=np.stack([y, turned], axis=-1),
            deformations=self.deformations * np.array([1, -1, 1, 1], np.float32),
        )


class FeatureLevel(NamedTuple):
    """The features of a picture at one scale, with cells around it."""

    scale: float  # pixels of the picture per pixel of the level
    around: int  # cells around the coarse map, half of those around the fine one
    coarse: np.ndarray  # [h, w, 32], cells of roots
    fine: np.ndarray  # [2h, 2w, 32] or about so many, cells of parts

    @property
    def octave(self) -> int:
        """0 where pictures are less than halved, else 1."""
        return int(self.scale >= 2)


class Placements(NamedTuple):
    """How well a component fits at each place of its root in a level."""

    component: Component
    scores: np.ndarray  # [h, w] float32
    responses: np.ndarray  # [P, H, W] float32, of the filters of the parts in the fine map

    def parts(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """[n, P, 2] int64, y and x in the fine map of the parts of roots at these places."""
        at = 2 * np.stack([y, x], axis=-1)[:, None] + self.component.anchors
        moves = self.component.deformations
        return at + best_displacements(self.responses, moves, at, REACH)


class Placement(NamedTuple):
    """Where a component was put in a level."""

    component: int
    mirrored: bool  # whether it was its mirror image
    level: FeatureLevel
    y: int  # of the root in the coarse map
    x: int
    parts: np.ndarray  # [P, 2] int64, y and x in the fine map
    score: float


def scales(picture: np.ndarray, interval: int) -> list[float]:
    """Those of a picture [H, W, 3], `interval` in each octave, down to 5 cells (voc-release5)."""
    short = min(picture.shape[:2])
    count = max(0, 1 + int(np.floor(np.log2(short / (5 * CELL)) * interval)))
    return [2 ** (number / interval) for number in range(count)]


def feature_levels(picture: np.ndarray, interval: int, around: int) -> list[FeatureLevel]:
    """All scales of a picture, each resized from it by areas.

    Args:
        picture: [H, W, 3] uint8.
        interval: as `scales`.
        around: cells outside the picture into which roots may reach.
    """
    return [feature_level(picture, scale, around) for scale in scales(picture, interval)]


def feature_level(picture: np.ndarray, scale: float, around: int) -> FeatureLevel:
    """One scale of a picture; arguments as `feature_levels`."""
    size = tuple(max(1, round(side / scale)) for side in picture.shape[1::-1])
    image = picture if scale == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    coarse, fine = fhogs(image, (CELL, CELL // 2))
    # one cell more, so that the corner of a map lies `around` cells before that of the picture
    return FeatureLevel(
        scale,
        around,
        padded(coarse, around + 1, around + 1),
        padded(fine, 2 * around + 1, 2 * around + 1),
    )


def placements(component: Component, level: FeatureLevel) -> Placements:
    """Scores of all places of the root, each with the best places of the parts (sec. 3.1, eq. 7).

    Roots whose parts would lie beyond the map at their anchors are left out.
    """
    scores = correlated(level.coarse, component.root[None])[0]
    responses = correlated(level.fine, component.parts)
    rows, columns = scores.shape
    for y, x in component.anchors:
        rows = min(rows, (responses.shape[1] - 1 - y) // 2 + 1)
        columns = min(columns, (responses.shape[2] - 1 - x) // 2 + 1)
    rows, columns = max(rows, 0), max(columns, 0)
    scores = scores[:rows, :columns] + np.float32(BIAS * component.bias)
    if len(component.parts):
        scores += component.octaves[level.octave]
    if scores.size and len(component.parts):
        fits = best_scores(responses, component.deformations, REACH)
        for fit, (y, x) in zip(fits, component.anchors, strict=True):
            scores += fit[y : y + 2 * rows : 2, x : x + 2 * columns : 2]
    return Placements(component, scores, responses)


def correlated(features: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Responses [n, h - a + 1, w - b + 1] float32 of filters [n, a, b, 32] at all places of a map.

    Args:
        features: [h, w, 32].
    """
    count, *sides = filters.shape[:3]
    rows, columns = (max(m - f + 1, 0) for m, f in zip(features.shape[:2], sides, strict=True))
    if not count or not rows or not columns:
        return np.zeros((count, rows, columns), np.float32)
    maps = torch.from_numpy(features).permute(2, 0, 1)[None]
    weights = torch.from_numpy(np.ascontiguousarray(filters)).permute(0, 3, 1, 2)
    return torch.nn.functional.conv2d(maps, weights)[0].contiguous().numpy()


def placed_features(
    component: Component, level: FeatureLevel, y: int, x: int, parts: np.ndarray, turned: bool
) -> np.ndarray:
    """[D] float32: the score of a placement is its product with the component's `vector`.

    Args:
        y, x: of the root in the coarse map.
        parts: [P, 2] y and x in the fine map.
        turned: whether the mirror image of the component was placed.
    """
    height, width = component.root.shape[:2]
    side = component.parts.shape[1]
    root = level.coarse[y : y + height, x : x + width]
    windows = [level.fine[v : v + side, u : u + side] for v, u in parts]
    anchors = (component.mirrored() if turned else component).anchors
    dy, dx = (parts - anchors - 2 * np.array([y, x])).T
    if turned:
        root, windows, dx = mirrored(root), [mirrored(window) for window in windows], -dx
    moves = -np.stack([dx * dx, dx, dy * dy, dy], axis=-1)
    last = np.array([BIAS, *[0.0] * OCTAVES])
    last[1 + level.octave] = float(len(parts) > 0)  # as in voc-release5, learnt with the parts
    values = [part.ravel() for part in (root, *windows, moves, last)]
    return np.concatenate(values).astype(np.float32)


def root_boxes(
    component: Component, level: FeatureLevel, y: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """Boxes [n, 4] xyxy in pixels of the picture, of roots at these places."""
    corners = (np.stack([x, y], axis=-1) - level.around) * (CELL * level.scale)
    sides = np.array(component.root.shape[1::-1]) * (CELL * level.scale)
    return np.concatenate([corners, corners + sides], axis=-1)


def part_boxes(component: Component, level: FeatureLevel, parts: np.ndarray) -> np.ndarray:
    """Boxes [n, P, 4] xyxy in pixels of the picture, of parts [n, P, 2] in the fine map."""
    cell = CELL // 2 * level.scale
    corners = (parts[..., ::-1] - 2 * level.around) * cell
    return np.concatenate([corners, corners + component.parts.shape[1] * cell], axis=-1)


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
        np.zeros(OCTAVES, np.float32),
    )


def one_sided(rows: np.ndarray, turned: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """[n] bool: which examples to mirror, so that all look to the same side.

    As voc-release5 splits a component (`lrsplit.m`): the example or its mirror image goes to the
    mean that it is nearer to, one after the other, until none changes; the best of 25 random
    beginnings, by the variance in a part. As both have the same length, this is the largest sum.

    Args:
        rows: [n, D] features.
        turned: [n, D] of the mirror images.
    """
    best, largest = np.zeros(len(rows), bool), -np.inf
    for _ in range(STARTS):
        chosen = draw.random(len(rows)) < 0.5
        total = np.where(chosen[:, None], turned, rows).sum(axis=0)
        for _ in range(SWEEPS):
            changed = [_turned_one(i, chosen, total, rows, turned) for i in _shuffled(rows, draw)]
            if not any(changed):
                break
        if (length := float(total @ total)) > largest:
            best, largest = chosen, length
    return best


def _shuffled(rows: np.ndarray, draw: np.random.Generator) -> Iterable[int]:
    return draw.permutation(len(rows)).tolist()


def _turned_one(
    i: int, chosen: np.ndarray, total: np.ndarray, rows: np.ndarray, turned: np.ndarray
) -> bool:
    """Mirror an example, in place, if that is nearer to the sum of the others; whether it is."""
    own, other = (turned[i], rows[i]) if chosen[i] else (rows[i], turned[i])
    rest = total - own
    if not rest @ other > rest @ own:
        return False
    chosen[i] = not chosen[i]
    total += other - own
    return True
