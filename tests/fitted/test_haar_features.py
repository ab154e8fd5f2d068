"""Haar features counted and summed by loops."""

import numpy as np
import pytest

from detectors.fitted.haar_features import all_features, corner_matrix
from detectors.fitted.integral import integral

CELLS = ((2, 1), (1, 2), (3, 1), (1, 3), (2, 2))


@pytest.mark.parametrize(("height", "width"), [(5, 6), (8, 4), (1, 2)])
def test_every_size_and_place_of_each_kind_once(height: int, width: int) -> None:
    expected = {
        (across, down, x, y, across * wide, down * high)
        for across, down in CELLS
        for high in range(1, height + 1)
        for wide in range(1, width + 1)
        for y in range(height - down * high + 1)
        for x in range(width - across * wide + 1)
    }
    features = all_features(height, width)
    found = [_kind(*row) for row in zip(features.rectangles, features.weights, strict=True)]
    assert len(found) == len(expected)
    assert set(found) == expected
    areas = features.rectangles[..., 2:].prod(axis=-1)
    assert not (areas * features.weights).sum(axis=1).any()  # brighter light changes nothing


def _kind(rectangles: np.ndarray, weights: np.ndarray) -> tuple[int, ...]:
    """Cells across and down, and the whole rectangle."""
    whole, part = rectangles[0], rectangles[1]
    across, down = (int(whole[i] // part[i]) for i in (2, 3))
    return (across, down, *(int(side) for side in whole))


def test_a_window_of_24_has_as_many_as_computed() -> None:
    features = all_features(24, 24)
    parts = features.rectangles[:, 0, 2:] // features.rectangles[:, 1, 2:]
    counts = [int((parts == cells).all(axis=1).sum()) for cells in CELLS]
    assert counts == [43_200, 43_200, 27_600, 27_600, 20_736]
    assert len(features.tilted) == 162_336


def test_values_by_loops() -> None:
    window = np.random.default_rng(0).integers(0, 256, (5, 6), dtype=np.uint8)
    features = all_features(5, 6)
    found = corner_matrix(features, 5, 6) @ integral(window).ravel()
    for value, rectangles, weights in zip(found, *features[:2], strict=True):
        total = 0
        for (x, y, wide, high), weight in zip(rectangles, weights, strict=True):
            pixels = [int(window[v, u]) for v in range(y, y + high) for u in range(x, x + wide)]
            total += int(weight) * sum(pixels)
        assert value == total
