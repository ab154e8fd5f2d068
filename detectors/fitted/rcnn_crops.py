"""Cuts windows out of a picture and warps them to the input of R-CNN's network."""

import cv2
import numpy as np


def warped(
    picture: np.ndarray, box: np.ndarray, side: int, context: int, fill: np.ndarray
) -> np.ndarray:
    """The window, drawn to a square with some of its surroundings: [side, side, 3] float32.

    Girshick et al. 2014, sec. 2.1 and appendix A; the release's `rcnn_im_crop.m`. The box grows
    about its centre, so that what it held is `context` pixels from the border of the square.
    Pixels are interpolated bilinearly, without smoothing. What lies outside of the picture is
    `fill`.

    Args:
        picture: [h, w, 3].
        box: [4] xyxy pixels of the picture, edges.
        side: of the square.
        context: pixels of the square on each side of the box.
        fill: [3] the mean pixel.

    Raises:
        ValueError: the context leaves nothing of the square.
    """
    if not 0 <= 2 * context < side:
        raise ValueError(f"context of {context} pixels on both sides of a square of {side}")
    x1, y1, x2, y2 = grown(box, side / (side - 2 * context))
    height, width = picture.shape[:2]
    square = np.empty((side, side, 3), np.float32)
    square[:] = fill
    inside = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return square
    left, right = _part(inside[0] - x1, inside[2] - x1, x2 - x1, side)
    top, bottom = _part(inside[1] - y1, inside[3] - y1, y2 - y1, side)
    shown = picture[inside[1] : inside[3], inside[0] : inside[2]].astype(np.float32)
    size = right - left, bottom - top
    square[top:bottom, left:right] = cv2.resize(shown, size, interpolation=cv2.INTER_LINEAR)
    return square


def grown(box: np.ndarray, factor: float) -> tuple[int, int, int, int]:
    """The box [4] times `factor` about its centre, in whole pixels and at least one wide."""
    center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * factor
    x1, y1 = np.floor(center - half + 0.5).astype(int).tolist()
    x2, y2 = np.floor(center + half + 0.5).astype(int).tolist()
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _part(start: int, end: int, length: int, side: int) -> tuple[int, int]:
    """Where of `side` pixels the part from `start` to `end` of a `length` is drawn, not empty."""
    first = min(round(start * side / length), side - 1)
    pixels = max(round((end - start) * side / length), 1)
    return first, min(first + pixels, side)
