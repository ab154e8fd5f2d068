"""Warped windows against a loop over pixels."""

import numpy as np
import pytest

from detectors.fitted.rcnn_crops import grown, warped

FILL = np.array([101.0, 102.0, 103.0])


def naive(picture: np.ndarray, box: np.ndarray, side: int, context: int) -> np.ndarray:
    """Pixel by pixel, of a box whose grown form lies in the picture."""
    x1, y1, x2, y2 = grown(box, side / (side - 2 * context))
    window = picture[y1:y2, x1:x2].astype(np.float64)
    height, width = window.shape[:2]
    found = np.zeros((side, side, 3))
    for row in range(side):
        for column in range(side):
            y = np.clip((row + 0.5) * height / side - 0.5, 0, height - 1)
            x = np.clip((column + 0.5) * width / side - 0.5, 0, width - 1)
            top, left = int(y), int(x)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = window[top, left] * (left + 1 - x) + window[top, right] * (x - left)
            lower = window[below, left] * (left + 1 - x) + window[below, right] * (x - left)
            found[row, column] = upper * (top + 1 - y) + lower * (y - top)
    return found


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


@pytest.mark.parametrize("box", [[12, 9, 30, 27], [14.2, 11.7, 21.1, 30.5], [20, 20, 21, 21]])
@pytest.mark.parametrize(("side", "context"), [(23, 3), (9, 0), (61, 4)])
def test_windows_inside_are_those_of_a_loop(
    picture: np.ndarray, box: list, side: int, context: int
) -> None:
    found = warped(picture, np.array(box, np.float64), side, context, FILL)
    assert found.shape == (side, side, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, naive(picture, np.array(box, np.float64), side, context), atol=2e-3
    )


def test_context_is_as_wide_as_said() -> None:
    """The release's numbers: 16 of 227 pixels, a box of 195 grows to 227."""
    assert grown(np.array([100.0, 100, 295, 295]), 227 / 195) == (84, 84, 311, 311)
    picture = np.zeros((400, 400, 3), np.uint8)
    picture[100:295, 100:295] = 200
    square = warped(picture, np.array([100.0, 100, 295, 295]), 227, 16, FILL)[..., 0]
    assert (square[16:-16, 16:-16] == 200).all()
    assert square.sum() == 200 * 195**2


def test_outside_of_the_picture_is_the_mean_pixel(picture: np.ndarray) -> None:
    """A quarter of the window above, an eighth beside it."""
    square = warped(picture, np.array([-4.0, -8, 28, 24]), 32, 0, FILL)
    assert (square[:8] == FILL).all()
    assert (square[:, :4] == FILL).all()
    np.testing.assert_allclose(square[8:, 4:], picture[:24, :28], atol=1e-3)


def test_a_window_out_of_sight_is_all_mean(picture: np.ndarray) -> None:
    square = warped(picture, np.array([-20.0, -20, -10, -10]), 16, 2, FILL)
    assert (square == FILL.astype(np.float32)).all()


def test_a_sliver_inside_keeps_one_pixel(picture: np.ndarray) -> None:
    square = warped(picture, np.array([49.0, 0, 249, 40]), 16, 0, FILL)
    assert (square[:, 1:] == FILL.astype(np.float32)).all()
    assert not (square[:, 0] == FILL.astype(np.float32)).all()


def test_all_context_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="context of 8 pixels"):
        warped(picture, np.array([0.0, 0, 10, 10]), 16, 8, FILL)
