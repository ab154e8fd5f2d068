"""A picture at several sizes, for windows of one size that look for objects of all sizes."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np


class PyramidLevel(NamedTuple):
    """A picture at one of its sizes."""

    scale: float  # pixels of the picture for one of the level
    image: np.ndarray  # [h, w, 3] uint8


def levels(
    picture: np.ndarray, ratio: float, least: tuple[int, int], padding: int = 0
) -> Iterator[PyramidLevel]:
    """The picture at scales 1, `ratio`, `ratio`^2, ..., as long as it is at least so large.

    As OpenCV's `HOGDescriptor.detectMultiScale`: each level is made of the picture itself, by
    its bit-exact bilinear interpolation.

    Args:
        picture: [H, W, 3] uint8.
        ratio: above 1.
        least: (height, width) below which no level is given, its padding included.
        padding: pixels by which each level is mirrored outwards; they have places below 0.
    """
    height, width = picture.shape[:2]
    scale = 1.0
    while True:
        size = round(width / scale), round(height / scale)
        if min(size) < 1 or size[1] + 2 * padding < least[0] or size[0] + 2 * padding < least[1]:
            return
        yield PyramidLevel(scale, _at(picture, size, padding))
        scale *= ratio


def _at(picture: np.ndarray, size: tuple[int, int], padding: int) -> np.ndarray:
    same = size == (picture.shape[1], picture.shape[0])
    image = picture if same else cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR_EXACT)
    sides = padding, padding, padding, padding
    return np.asarray(cv2.copyMakeBorder(image, *sides, cv2.BORDER_REFLECT_101))


def cut_out(picture: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What a box shows, resized; beyond the picture it is mirrored.

    Args:
        picture: [H, W, 3] uint8.
        box: [4] xyxy in pixels, which are rounded.
        size: (height, width) of the result.

    Returns:
        [height, width, 3] uint8.
    """
    left, top, right, bottom = np.rint(box).astype(int).tolist()
    rows = mirrored(np.arange(top, max(bottom, top + 1)), picture.shape[0])
    columns = mirrored(np.arange(left, max(right, left + 1)), picture.shape[1])
    shown = np.ascontiguousarray(picture[rows[:, None], columns])
    return cv2.resize(shown, size[::-1], interpolation=cv2.INTER_LINEAR_EXACT)


def mirrored(places: np.ndarray, length: int) -> np.ndarray:
    """Places beyond 0 and `length - 1` as often mirrored at these as it takes; any integers."""
    period = max(2 * (length - 1), 1)
    inside = np.abs(places) % period
    return np.minimum(inside, period - inside)
