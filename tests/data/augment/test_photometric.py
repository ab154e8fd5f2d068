"""Colours changed by one linear map equal those changed step by step."""

from itertools import permutations

import numpy as np
import pytest

from detectors.data.augment.photometric import ColorJitter
from detectors.structures import Sample

LUMA = np.array([0.299, 0.587, 0.114])
I_AXIS, Q_AXIS = np.array([0.5959, -0.2746, -0.3213]), np.array([0.2115, -0.5227, 0.3112])


def _sample(low: int = 80, high: int = 160) -> Sample:
    levels = np.random.default_rng(0).integers(low, high, (9, 7, 3)).astype(np.uint8)
    none = np.zeros((0, 4), np.float32)
    frame = np.array([0, 0, 7, 9], np.float32)
    return Sample(levels, none, np.zeros(0, int), np.zeros(0, bool), 0, np.ones(4), frame)


def brighter(image: np.ndarray, factor: float) -> np.ndarray:
    return image * factor


def contrasted(image: np.ndarray, factor: float) -> np.ndarray:
    mean = (image @ LUMA).mean()
    return mean + factor * (image - mean)


def saturated(image: np.ndarray, factor: float) -> np.ndarray:
    grey = (image @ LUMA)[..., None]
    return grey + factor * (image - grey)


def turned(image: np.ndarray, turns: float) -> np.ndarray:
    """The complex number I + iQ of each pixel turned, pixel by pixel."""
    axes = np.stack([LUMA, I_AXIS, Q_AXIS])
    result = np.empty_like(image)
    for place in np.ndindex(image.shape[:2]):
        luma, i, q = axes @ image[place]
        chroma = complex(i, q) * np.exp(2j * np.pi * turns)
        result[place] = np.linalg.solve(axes, [luma, chroma.real, chroma.imag])
    return result


@pytest.mark.parametrize("seed", range(4))
def test_one_map_is_the_four_changes_in_any_order(seed: int) -> None:
    before = _sample()
    after = ColorJitter(0.2, 0.2, 0.3, 0.1, probability=1)(before, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    rng.random()
    factors = rng.uniform(-1, 1, 4) * (0.2, 0.2, 0.3, 0.1) + (1, 1, 1, 0)
    steps = list(zip((brighter, contrasted, saturated, turned), factors, strict=True))
    for order in permutations(steps):
        expected = before.image.astype(float)
        for change, amount in order:
            expected = change(expected, amount)
        np.testing.assert_allclose(after.image, expected, atol=0.95)  # OpenCV: 10 bits


def test_levels_are_cut_and_grey_stays_grey() -> None:
    grey = _sample()._replace(image=np.full((4, 4, 3), 250, np.uint8))
    seen = [ColorJitter(probability=1)(grey, np.random.default_rng(k)).image for k in range(20)]
    assert all(np.ptp(image) == 0 for image in seen)
    assert {255} < {int(image[0, 0, 0]) for image in seen}


def test_it_happens_with_its_probability_and_leaves_the_original() -> None:
    before = _sample()
    image = before.image.copy()
    jitter = ColorJitter(probability=0.3)
    happened = [jitter(before, np.random.default_rng(k)) is not before for k in range(400)]
    assert 0.22 < np.mean(happened) < 0.38
    np.testing.assert_array_equal(before.image, image)


@pytest.mark.parametrize("words", [{"hue": 0.6}, {"contrast": -0.1}, {"probability": 2}])
def test_numbers_out_of_their_range_are_refused(words: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"color: expected .*found"):
        ColorJitter(**words)
