"""Outlines of the shape classes as polygons, and geometry that needs nothing but an outline.

Box and picture of an object come from the same polygon, so that the boxes are exact.
"""

from collections.abc import Callable

import cv2
import numpy as np

VERTICES = 48  # of every outline, so that many of them are one array


def _ring_of(radii: list[float], start: float = -np.pi / 2) -> np.ndarray:
    """Vertices at equal angles round the origin with the given radii."""
    angles = start + 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.array(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _arc(start: float, stop: float, vertices: int, radius: float = 1.0, x: float = 0.0):
    angles = np.linspace(start, stop, vertices)
    return np.stack([x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _ring() -> np.ndarray:
    """Once round outside and once back inside; the seam between has no width."""
    return np.concatenate([_arc(0, 2 * np.pi, 24), _arc(2 * np.pi, 0, 24, radius=0.55)])


def _cross() -> np.ndarray:
    arm = np.array([[0.33, 0.33], [0.33, 1.0], [-0.33, 1.0]])
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    return np.concatenate([arm @ np.linalg.matrix_power(quarter, turn).T for turn in range(4)])


def _crescent() -> np.ndarray:
    """A disk of radius 1 without one of radius 0.8 whose centre lies 0.45 to the right."""
    radius, shift = 0.8, 0.45
    x = (1 - radius**2 + shift**2) / (2 * shift)
    outer, inner = np.arccos(x), np.arccos((x - shift) / radius)
    return np.concatenate(
        [
            _arc(outer, 2 * np.pi - outer, 28),
            _arc(2 * np.pi - inner, inner, 20, radius=radius, x=shift),
        ]
    )


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], axis=1) / 16


def _arrow() -> np.ndarray:
    upper = np.array([[-1.0, 0.25], [0.1, 0.25], [0.1, 0.75]])
    return np.concatenate([upper, [[1.0, 0.0]], (upper * [1, -1])[::-1]])


def _hourglass() -> np.ndarray:
    half = np.array([[-0.8, -1.0], [0.8, -1.0], [0.15, 0.0]])
    return np.concatenate([half, -half])


_OUTLINES: dict[str, Callable[[], np.ndarray]] = {  # the easiest to tell apart come first
    "disk": lambda: _ring_of([1.0] * VERTICES),
    "triangle": lambda: _ring_of([1.0] * 3),
    "cross": _cross,
    "ring": _ring,
    "square": lambda: _ring_of([1.0] * 4, np.pi / 4),
    "star": lambda: _ring_of([1.0, 0.42] * 5),
    "crescent": _crescent,
    "arrow": _arrow,
    "heart": _heart,
    "hourglass": _hourglass,
    "half_disk": lambda: _arc(0, np.pi, 25),
    "hexagon": lambda: _ring_of([1.0] * 6),
}


def _padded(outline: np.ndarray) -> np.ndarray:
    """[VERTICES, 2]: the last vertex is repeated, which changes neither shape nor box."""
    return np.pad(outline, ((0, VERTICES - len(outline)), (0, 0)), mode="edge")


NAMES = tuple(_OUTLINES)
UNIT = np.stack([_padded(outline()) for outline in _OUTLINES.values()])  # [shapes, VERTICES, 2]


def _raster(outline: np.ndarray) -> np.ndarray:
    """[_CELLS, _CELLS] bool over the square -1..1: which cells the outline contains."""
    cells = np.zeros((_CELLS, _CELLS), dtype=np.uint8)
    points = np.rint(((outline + 1) / 2 * _CELLS - 0.5) * 16).astype(np.int32)
    return cv2.fillPoly(cells, [points], 1, shift=4) == 1


_CELLS = 128
_RASTERS = np.stack([_raster(outline) for outline in UNIT])


def contain(labels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether each shape `[...]` contains its points `[..., P, 2]` in units of `UNIT`: `[..., P]`.

    Looked up in a raster of 128 cells a side.
    """
    cells = np.floor((points + 1) / 2 * _CELLS).astype(np.int64)
    known = ((cells >= 0) & (cells < _CELLS)).all(axis=-1)
    x, y = np.moveaxis(cells.clip(0, _CELLS - 1), -1, 0)
    return _RASTERS[labels[..., None], y, x] & known


def _spread() -> np.ndarray:
    """[shapes, SAMPLES, 2] points, evenly spread over the inside of each shape.

    Roberts 2018, "The unreasonable effectiveness of quasirandom sequences": steps of the inverse
    plastic number and its square.
    """
    plastic = 1.324717957244746
    steps = np.arange(1, 12 * SAMPLES)[:, None] / np.array([plastic, plastic**2])
    points = 2 * (steps % 1) - 1
    every = [points[contain(np.array(label), points)] for label in range(len(NAMES))]
    return np.stack([inside[:SAMPLES] for inside in every])


SAMPLES = 64
INSIDE = _spread()


def boxes_within(points: np.ndarray, side: float) -> np.ndarray:
    """Tight box of the part of each outline that lies in the square image.

    Every edge is clipped by the image (Liang and Barsky 1984). A corner of the image that lies
    inside a silhouette needs no care: the outline then meets both borders that form the corner,
    provided that no silhouette is as long as the image.

    Args:
        points: [n, V, 2] pixels.
        side: of the image, pixels.

    Returns:
        [n, 4] xyxy; an outline outside the image gives an inverted, infinite box.
    """
    step = np.roll(points, -1, axis=-2) - points
    step = np.where(step == 0, 1e-12, step)
    low, high = (0 - points) / step, (side - points) / step
    enter = np.minimum(low, high).max(axis=-1, keepdims=True).clip(min=0)
    leave = np.maximum(low, high).min(axis=-1, keepdims=True).clip(max=1)
    ends = np.stack([points + enter * step, points + leave * step])  # [2, n, V, 2]
    inside = enter <= leave
    least = np.where(inside, ends, np.inf).min(axis=(0, -2))
    most = np.where(inside, ends, -np.inf).max(axis=(0, -2))
    return np.concatenate([least, most], axis=-1).clip(0, side)
