"""Features of cells, pixel by pixel."""

import math

import numpy as np
import pytest

from detectors.fitted.fhog import fhog, fhogs, mirrored, padded


def _image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def _by_loops(image: np.ndarray, cell: int) -> np.ndarray:
    rows, columns = round(image.shape[0] / cell), round(image.shape[1] / cell)
    histogram = np.zeros((rows, columns, 18))
    pixels = image.astype(float)
    for y in range(1, rows * cell - 1):
        for x in range(1, columns * cell - 1):
            v, u = min(y, image.shape[0] - 2), min(x, image.shape[1] - 2)
            dx, dy = pixels[v, u + 1] - pixels[v, u - 1], pixels[v + 1, u] - pixels[v - 1, u]
            channel = int(np.argmax(dx**2 + dy**2))
            length = math.hypot(dx[channel], dy[channel])
            dots = [
                math.cos(o * math.pi / 9) * dx[channel] + math.sin(o * math.pi / 9) * dy[channel]
                for o in range(9)
            ]
            orientation = int(np.argmax([*dots, *(-dot for dot in dots)]))
            xp, yp = (x + 0.5) / cell - 0.5, (y + 0.5) / cell - 0.5
            for r in (math.floor(yp), math.floor(yp) + 1):
                for c in (math.floor(xp), math.floor(xp) + 1):
                    if 0 <= r < rows and 0 <= c < columns:
                        share = (1 - abs(yp - r)) * (1 - abs(xp - c))
                        histogram[r, c, orientation] += share * length
    energy = ((histogram[..., :9] + histogram[..., 9:]) ** 2).sum(-1)
    features = np.zeros((rows - 2, columns - 2, 32))
    for y, x in np.ndindex(features.shape[:2]):
        h = histogram[y + 1, x + 1]
        for k, (r, c) in enumerate(((1, 1), (0, 1), (1, 0), (0, 0))):
            n = 1 / math.sqrt(energy[y + r : y + r + 2, x + c : x + c + 2].sum() + 1e-4)
            features[y, x, :18] += 0.5 * np.minimum(h * n, 0.2)
            features[y, x, 18:27] += 0.5 * np.minimum((h[:9] + h[9:]) * n, 0.2)
            features[y, x, 27 + k] = 0.2357 * np.minimum(h * n, 0.2).sum()
    return features


@pytest.mark.parametrize(("height", "width", "cell"), [(40, 33, 8), (19, 22, 4), (20, 20, 4)])
def test_is_that_of_loops(height: int, width: int, cell: int) -> None:
    image = _image(height, width)
    np.testing.assert_allclose(fhog(image, cell), _by_loops(image, cell), atol=2e-5)


def test_grey_light_changes_nothing() -> None:
    image = _image(40, 40)
    np.testing.assert_allclose(fhog(image // 2 + 20.0), fhog(image // 2 + 60.0), atol=1e-6)


def test_what_lies_outside_has_a_channel() -> None:
    wider = padded(np.ones((2, 3, 32), np.float32) * 0.5, 1, 2)
    assert wider.shape == (4, 7, 32)
    assert (wider[1:3, 2:5] == 0.5).all()
    assert wider[0].sum() == 7
    assert (wider[:, :2, -1] == 1).all()


@pytest.mark.parametrize("side", [2, 8, 16, 19])
def test_a_picture_too_small_has_no_inner_cell(side: int) -> None:
    assert fhog(_image(side, 40)).shape == (0, 3, 32)


def test_several_sides_of_a_cell_are_each_alone() -> None:
    image = _image(37, 50)
    for cell, found in zip((8, 4, 16), fhogs(image, (8, 4, 16)), strict=True):
        np.testing.assert_array_equal(found, fhog(image, cell))


def test_features_of_the_mirror_image() -> None:
    image = np.random.default_rng(0).random((40, 48, 3)).astype(np.float32) * 255
    found = fhog(np.ascontiguousarray(image[:, ::-1]), 8)
    np.testing.assert_allclose(mirrored(fhog(image, 8)), found, atol=1e-5)
    stack = np.stack([fhog(image, 8)] * 2)
    np.testing.assert_allclose(mirrored(stack)[1], found, atol=1e-5)


def test_an_edge_straight_down_has_one_orientation() -> None:
    """Half-way between two orientations, the lower one of each side counts."""
    image = np.zeros((24, 24, 3), np.uint8)
    image[12:] = 255
    up, down = fhog(image, 8), fhog(255 - image, 8)
    assert up[0, 0, :18].argmax() == 4
    assert down[0, 0, :18].argmax() == 13
