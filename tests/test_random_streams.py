"""Streams of random numbers are those that published figures were drawn from."""

import numpy as np
import pytest

from detectors.data.multiscale import Multiscale
from detectors.data.repeat_factor import repeated
from detectors.data.sampling import EpochSampler
from detectors.module import step_seed
from detectors.random_streams import stream, torch_seed


@pytest.mark.parametrize(
    ("key", "name", "first"),
    [
        ((3, 5, 7), "flip", 0.515803765270759),
        ((2**40 + 1, 0, 11), "mosaic/2/color", 0.37818724843719265),
        ((3, 5), "order of an epoch", 0.1366734157837819),
        ((3, 5, 2), "side of a canvas", 0.13249758299688708),
        ((3, 5), "repeats of an epoch", 0.723460270718002),
        ((3, 1, 7), "layout of a scene", 0.007784104474533815),
        ((3, 1, 7), "pixels of a scene", 0.4746419612317073),
        ((0,), "textures of scenes", 0.6369616873214543),
        ((3,), "label noise", 0.08564916714362436),
        ((2**33 + 5,), "anchor clustering", 0.23772096442823154),
    ],
)
def test_the_first_number_of_a_stream(key: tuple[int, ...], name: str, first: float) -> None:
    assert stream(*key, name=name).random() == first


def test_the_order_of_an_epoch() -> None:
    sampler = EpochSampler(8, 2, seed=3)
    assert [index for _, index in sampler] == [6, 7, 2, 1, 4, 5, 3, 0]
    sampler.set_epoch(5)
    assert [index for _, index in sampler] == [4, 0, 2, 6, 5, 1, 3, 7]


def test_the_sides_of_canvases() -> None:
    sizes = Multiscale(range(320, 609, 32), every=10)
    sides = [sizes.side(3, 5, batch) for batch in range(0, 100, 10)]
    assert sides == [512, 416, 544, 608, 480, 416, 576, 384, 448, 416]


def test_the_repeats_of_an_epoch() -> None:
    factors = np.array([1.5, 1, 2.25, 1.75, 1.1])
    assert repeated(factors, 3, 5).tolist() == [0, 5, 1, 2, 7, 3, 8, 4]


def test_the_seeds_of_steps() -> None:
    assert step_seed(3, 5, 7, 1) == 4933935146067815381
    assert step_seed(0, 0, 0, 0) == 7896617691693857887


def test_names_and_places_are_kept_apart() -> None:
    places = [(*key, name) for key in np.ndindex(2, 2) for name in "ab"]
    seeds = {torch_seed(0, *key, name=name) for *key, name in places}
    assert len(seeds) == len(places)
