"""Draws the priors assigned to each object."""

import math

import cv2
import numpy as np

from detectors.visualization.assignment import Level
from detectors.visualization.pictures import label_colour, titled

GREY = (130, 130, 130)
LONGER_SIDE = 480  # pixels that a picture is enlarged to at least


def level_picture(
    image: np.ndarray, objects: np.ndarray, rows: np.ndarray, level: Level, name: str
) -> np.ndarray:
    """The image with the priors that a level trains, in the colours of their objects.

    A positive prior is a dot at its centre and its box, unless it is a point or as large as the
    image; an ignored one is a small grey dot. Objects are thick boxes on top. Where class targets
    are soft the image is tinted by them.

    Args:
        image: [H, W, 3] uint8 RGB; not changed.
        objects: [M, 4] xyxy pixels.
        rows: [m] those of `objects` that are real.
        level: what to draw.
        name: of the assigner.
    """
    scale = math.ceil(LONGER_SIDE / max(image.shape[:2]))
    size = (image.shape[1] * scale, image.shape[0] * scale)
    canvas = cv2.resize(_tinted(image, level), size, interpolation=cv2.INTER_LINEAR)
    _draw_ignored(canvas, level, scale)
    _draw_boxes(canvas, level, scale)
    for row in rows:
        _box(canvas, objects[row] * scale, (0, 0, 0), 5)
        _box(canvas, objects[row] * scale, label_colour(row), 3)
    _draw_dots(canvas, level, scale)
    positive, ignored = len(np.unique(level.prior)), int(level.ignored.sum())
    counted = f"{positive} positive, {ignored} ignored"
    return titled(canvas, f"{name}, stride {level.stride}", counted)


def _tinted(image: np.ndarray, level: Level) -> np.ndarray:
    """A paler copy, in red where class targets of priors that are not positive lie above zero."""
    heat = np.zeros(image.shape[:2], np.float32)
    for prior in np.flatnonzero((level.heat > 0) & (level.heat < 1)):
        middle = (level.boxes[prior, :2] + level.boxes[prior, 2:]) / 2
        left, top = np.maximum(middle - level.stride / 2, 0).astype(int)
        cell = heat[top : top + level.stride, left : left + level.stride]
        np.maximum(cell, level.heat[prior], out=cell)
    pale = 0.7 * image + 0.3 * 255
    share = 0.8 * heat[..., None]
    return (pale * (1 - share) + np.array([255, 0, 0]) * share).astype(np.uint8)


def _draw_ignored(canvas: np.ndarray, level: Level, scale: int) -> None:
    for x, y in _centers(level.boxes[level.ignored], scale):
        cv2.rectangle(canvas, (x - 1, y - 1), (x + 1, y + 1), GREY, -1)


def _draw_boxes(canvas: np.ndarray, level: Level, scale: int) -> None:
    """Draws the boxes of positive priors, but for points and whole images."""
    boxes = level.boxes[level.prior]
    sides = boxes[:, 2:] - boxes[:, :2]
    whole = (sides >= np.array(canvas.shape[1::-1]) / scale).all(axis=1)
    point = (sides == level.stride).all(axis=1)
    for row in np.flatnonzero(~whole & ~point):
        _box(canvas, boxes[row] * scale, label_colour(level.owner[row]), 1)


def _draw_dots(canvas: np.ndarray, level: Level, scale: int) -> None:
    """Draws a dot for each positive prior, above all boxes."""
    for middle, owner in zip(
        _centers(level.boxes[level.prior], scale), level.owner.tolist(), strict=True
    ):
        cv2.circle(canvas, middle, 4, (0, 0, 0), -1)
        cv2.circle(canvas, middle, 3, label_colour(owner), -1)


def _box(canvas: np.ndarray, box: np.ndarray, colour: tuple[int, int, int], thick: int) -> None:
    start, end = np.rint(box).astype(int).reshape(2, 2).tolist()
    cv2.rectangle(canvas, start, end, colour, thick)


def _centers(boxes: np.ndarray, scale: int) -> list[list[int]]:
    return np.rint((boxes[:, :2] + boxes[:, 2:]) / 2 * scale).astype(int).tolist()
