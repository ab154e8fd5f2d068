"""Darknet's and CenterNet's augmentations worked by hand and checked over many draws."""

import colorsys

import numpy as np
import pytest

from detectors.data.augment.jitter import (
    AspectJitter,
    ExposureJitter,
    FixedWindow,
    RandomInterpolation,
    SideJitter,
    SquareWindow,
)
from detectors.structures import Sample

BOXES = [[5, 5, 25, 30], [40, 2, 58, 40]]


def _sample(boxes: list[list[float]], height: int = 40, width: int = 60) -> Sample:
    """Grey that grows from left to right."""
    image = np.full((height, width, 3), np.arange(width)[None, :, None] * 4, np.uint8)
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample(
        image=image,
        boxes=found,
        labels=np.arange(len(found)),
        ignore=np.zeros(len(found), bool),
        id=1,
        to_original=np.array([1, 1, 0, 0], np.float32),
        frame=np.array([0, 0, width, height], np.float32),
    )


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _back(sample: Sample, boxes: np.ndarray) -> np.ndarray:
    return boxes * sample.to_original[[0, 1, 0, 1]] + sample.to_original[[2, 3, 2, 3]]


@pytest.mark.parametrize(
    "transform",
    [
        SideJitter(0.3),
        AspectJitter(0.3),
        SquareWindow([0.6, 1.3], 128),
        FixedWindow([20, 90], 128),
    ],
)
def test_boxes_and_frame_follow_the_picture(transform) -> None:
    """Back in the original, a box is the part of it that shows, and the frame what shows."""
    before = _sample(BOXES)
    for seed in range(50):
        after = transform(before, _rng(seed))
        shown = _back(after, after.frame)
        assert (shown >= -1e-3).all()
        assert (shown <= np.array([60, 40, 60, 40]) + 1e-3).all()
        expected = np.clip(before.boxes, shown[[0, 1, 0, 1]], shown[[2, 3, 2, 3]])
        kept = after.labels
        np.testing.assert_allclose(_back(after, after.boxes), expected[kept], atol=1e-3)
        gone = np.setdiff1d(before.labels, kept)
        assert (np.prod(expected[gone, 2:] - expected[gone, :2], axis=1) < 1e-3).all()


def test_each_side_moves_by_up_to_its_part() -> None:
    before, sizes = _sample([]), []
    for seed in range(300):
        after = SideJitter(0.3)(before, _rng(seed))
        sizes.append(after.image.shape[:2])
    low, high = np.min(sizes, axis=0), np.max(sizes, axis=0)
    assert (low >= [16, 24]).all()
    assert (low < [22, 33]).all()
    assert (high <= [64, 96]).all()
    assert (high > [58, 87]).all()


def test_what_comes_in_has_the_mean_colour() -> None:
    before = _sample([])
    after = next(
        found for seed in range(100) if (found := SideJitter(0.3)(before, _rng(seed))).frame[0] >= 1
    )
    assert (after.image[:, 0] == round(before.image.mean())).all()


def test_the_picture_fills_one_side_of_the_square() -> None:
    ratios = []
    for seed in range(200):
        after = AspectJitter(0.3)(_sample(BOXES), _rng(seed))
        width, height = after.frame[2:] - after.frame[:2]
        assert after.image.shape == (60, 60, 3)
        assert max(width, height) == 60
        assert len(after.boxes) == 2
        ratios.append(width / height)
    assert 0.7 / 1.3 * 1.5 - 0.1 < min(ratios) < 1.0
    assert 2.4 < max(ratios) < 1.3 / 0.7 * 1.5 + 0.1


def test_colours_change_as_in_hsv() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    before = _sample([])._replace(image=image)
    rng = _rng(3)
    shift, factors = rng.uniform(-0.1, 0.1), rng.uniform(1, [1.5, 1.5])
    factors = np.where(rng.random(2) < 0.5, factors, 1 / factors)
    expected = np.empty((8, 8, 3))
    for place in np.ndindex(8, 8):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[place] / 255))
        saturation, value = np.minimum([saturation, value] * factors, 1)
        expected[place] = colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)
    after = ExposureJitter(0.1, 1.5, 1.5)(before, _rng(3)).image
    # Hue is rounded to 1/256 turn twice, 6 levels of a channel; saturation and value add theirs.
    np.testing.assert_allclose(after, expected * 255, atol=9)


def test_factors_of_one_leave_the_picture_nearly_as_it_is() -> None:
    before = _sample([])
    after = ExposureJitter(0.0, 1.0, 1.0)(before, _rng(0))
    np.testing.assert_allclose(after.image.astype(int), before.image.astype(int), atol=2)


def test_windows_are_squares_of_the_scales_with_their_middle_inside() -> None:
    sides = set()
    for seed in range(200):
        after = SquareWindow([0.6, 1.3], 16)(_sample(BOXES), _rng(seed))
        side = after.image.shape[0]
        assert after.image.shape == (side, side, 3)
        x, y = after.to_original[2:] + side // 2
        assert 16 <= x < 44
        assert 16 <= y < 24
        sides.add(side)
    assert sides == {36, 78}


def test_a_fixed_window_has_its_side_whatever_the_picture() -> None:
    sides = set()
    for seed in range(60):
        height = 40 + seed
        after = FixedWindow([20, 90], 16)(_sample(BOXES, height), _rng(seed))
        side = after.image.shape[0]
        assert after.image.shape == (side, side, 3)
        x, y = after.to_original[2:] + side // 2
        assert 16 <= x < 44
        assert 16 <= y < height - 16
        sides.add(side)
    assert sides == {20, 90}


def test_interpolation_is_one_of_five() -> None:
    before = _sample(BOXES)
    found = [RandomInterpolation(37)(before, _rng(seed)) for seed in range(60)]
    assert len({after.image.tobytes() for after in found}) == 5
    np.testing.assert_allclose(found[0].boxes, before.boxes * np.tile([37 / 60, 37 / 40], 2), 1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SideJitter(0.5),
        lambda: AspectJitter(-0.1),
        lambda: ExposureJitter(saturation=0.5),
        lambda: SquareWindow([]),
        lambda: FixedWindow([0, 20]),
    ],
)
def test_numbers_out_of_range_are_refused(make) -> None:
    with pytest.raises(ValueError, match="found"):
        make()
