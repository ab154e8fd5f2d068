"""A pyramid has the sizes of OpenCV's, and a cut-out is mirrored beyond the picture."""

import numpy as np
import pytest

from detectors.fitted.pyramid import cut_out, levels, mirrored


def test_sizes_and_scales_are_those_of_a_loop() -> None:
    picture = np.zeros((100, 150, 3), np.uint8)
    found = [(level.scale, level.image.shape[:2]) for level in levels(picture, 1.3, (40, 60))]
    expected, scale = [], 1.0
    while round(100 / scale) >= 40 and round(150 / scale) >= 60:
        expected.append((scale, (round(100 / scale), round(150 / scale))))
        scale *= 1.3
    assert found == expected


def test_padding_is_mirrored_and_counts_for_the_size() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    first, second = levels(picture, 2.0, (18, 23), padding=4)
    assert np.array_equal(first.image[4:-4, 4:-4], picture)
    assert np.array_equal(first.image[3, 4:-4], picture[1])
    assert second.image.shape == (18, 23, 3)


def test_levels_are_of_the_picture_at_that_size() -> None:
    ramp = np.repeat(np.arange(0, 120, dtype=np.uint8)[None, :, None], 8, 0).repeat(3, 2)
    _, half = levels(ramp, 2.0, (4, 60))
    assert np.abs(half.image[0, :, 0].astype(float) - (2 * np.arange(60) + 0.5)).max() <= 0.5


@pytest.mark.parametrize("length", [1, 2, 5])
def test_places_beyond_a_row_are_mirrored(length: int) -> None:
    there = list(range(length))
    for place in range(-12, 13):
        expected = place
        while not 0 <= expected < length:
            expected = -expected if expected < 0 else 2 * (length - 1) - expected
            expected = 0 if length == 1 else expected
        assert there[mirrored(np.array([place]), length)[0]] == expected


def test_a_cut_out_in_its_own_size_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    found = cut_out(picture, np.array([1.2, 2.0, 6.4, 7.0]), (5, 5))
    assert np.array_equal(found, picture[2:7, 1:6])
    beyond = cut_out(picture, np.array([-2.0, 0, 2, 3]), (3, 4))
    assert np.array_equal(beyond, picture[:3][:, [2, 1, 0, 1]])
    assert cut_out(picture, np.array([3.0, 3.0, 3.1, 3.1]), (4, 4)).shape == (4, 4, 3)
