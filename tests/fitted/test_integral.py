"""Integral images against sums by loops, and OpenCV's where it has them."""

import cv2
import numpy as np
import pytest

from detectors.fitted.integral import (
    integral,
    squared_integral,
    tilted_corners,
    tilted_integral,
    upright_corners,
)


def _image(height: int = 7, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


def _sum(sums: np.ndarray, corners: np.ndarray) -> int:
    a, b, c, d = (int(sums[y, x]) for x, y in corners)
    return a - b - c + d


def test_upright_rectangles_by_loops() -> None:
    image = _image()
    sums, squares = integral(image), squared_integral(image)
    for y, x, height, width in ((0, 0, 7, 9), (2, 3, 1, 1), (1, 4, 5, 2), (6, 8, 1, 1)):
        pixels = [int(image[v, u]) for v in range(y, y + height) for u in range(x, x + width)]
        corners = upright_corners(np.array([x, y, width, height]))
        assert _sum(sums, corners) == sum(pixels)
        assert _sum(squares, corners) == sum(pixel**2 for pixel in pixels)


@pytest.mark.parametrize(("height", "width"), [(7, 9), (9, 5), (1, 4), (2, 1)])
def test_tilted_sums_by_loops(height: int, width: int) -> None:
    image = _image(height, width)
    found = tilted_integral(image)
    for y in range(height + 1):
        for x in range(width + 1):
            inside = [
                int(image[v, u])
                for v in range(y)
                for u in range(width)
                if abs(u - x + 1) <= y - 1 - v
            ]
            assert found[y, x] == sum(inside)


def test_a_tilted_rectangle_of_ones_has_twice_its_sides() -> None:
    sums = tilted_integral(np.ones((12, 12), np.uint8))
    assert _sum(sums, tilted_corners(np.array([5, 1, 4, 3]))) == 2 * 4 * 3


def test_is_opencvs() -> None:
    image = _image(31, 23)
    sums, squares, tilted = cv2.integral3(image)
    np.testing.assert_array_equal(integral(image), sums)
    np.testing.assert_array_equal(squared_integral(image), squares)
    np.testing.assert_array_equal(tilted_integral(image), tilted)


def test_sums_that_wrap_around_still_give_rectangles() -> None:
    image = np.full((300, 300), 255, np.uint8)  # squares sum to 5.9e9
    corners = upright_corners(np.array([290, 290, 10, 10]))
    a, b, c, d = (squared_integral(image)[y, x] for x, y in corners)
    with np.errstate(over="ignore"):
        assert a - b - c + d == 100 * 255**2


def test_images_of_a_batch_are_summed_each_alone() -> None:
    images = np.stack([_image(), _image()[::-1]])
    np.testing.assert_array_equal(integral(images)[1], integral(images[1]))
