"""Power and seeds are those of the noncentral t and of simulated studies."""

import itertools

import numpy as np
import pytest
from scipy import stats

from detectors.studies.effects import Difference, difference
from detectors.studies.power import (
    more_seeds,
    pictures_half,
    pictures_needed,
    power,
    seeds_needed,
    wants_seeds,
)


def found(gaps: np.ndarray, pictures: float = 0.0) -> Difference:
    return difference(
        dict(enumerate(gaps.tolist())), dict.fromkeys(range(len(gaps)), 0.0), pictures
    )


def test_power_of_a_study() -> None:
    """Simulated for the design: 14, 60 and 97 % for 1 AP, 5 variants, sd 0.4, correlation 0.3."""
    sd = 0.4 * np.sqrt(2 * 0.7)
    assert [power(1.0, sd, seeds, 5) for seeds in (3, 5, 8)] == pytest.approx(
        [0.14, 0.60, 0.97], abs=0.015
    )
    assert power(-1.0, sd, 5, 5) == power(1.0, sd, 5, 5)
    assert power(1.0, sd, 5) > power(1.0, sd, 5, 5) > power(1.0, sd, 5, 5, pictures_variance=0.1)
    assert power(1.0, 0.0, 5) == 1
    assert power(1.0, 0.0, 5, pictures_variance=0.25) == pytest.approx(0.512, abs=0.001)


def test_power_is_the_tail_of_the_noncentral_t() -> None:
    for seeds, effect in itertools.product((2, 3, 5, 8), (0.5, 1.0, 2.0)):
        least = stats.t.ppf(0.995, seeds - 1)
        tail = stats.nct.sf(least, seeds - 1, effect / 0.6 * seeds**0.5)
        assert power(effect, 0.6, seeds, 5) == pytest.approx(tail, abs=1e-3)


def test_power_is_a_chance_whatever_is_asked() -> None:
    """scipy's noncentral t gives no number for some of these."""
    for effect, sd, seeds in itertools.product((0.01, 1, 10), (0, 1e-6, 0.05, 0.4, 20), (2, 5, 8)):
        for pictures in (0, 0.01, 5):
            assert 0 <= power(effect, sd, seeds, 5, pictures) <= 1
    assert power(10, 0.4, 5, 1, 0.01) == pytest.approx(1)


def test_power_is_how_often_a_difference_is_shown() -> None:
    gaps = np.random.default_rng(0).normal(1.0, 0.6, (2000, 5))
    shown = np.mean([(one := found(row)).p < 0.05 and one.mean > 0 for row in gaps])
    assert shown == pytest.approx(power(1.0, 0.6, 5), abs=0.025)


@pytest.mark.parametrize(
    ("half", "seeds"),
    [(1.0, [3, 3, 4, 5]), (0.5, [3, 5, 8, 13]), (0.3, [5, 10, 17, 30]), (0.2, [7, 18, 34, 64])],
)
def test_seeds_for_a_half_width(half: float, seeds: list[int]) -> None:
    assert [seeds_needed(sd, half) for sd in (0.2, 0.4, 0.57, 0.8)] == seeds


def test_no_seeds_are_enough_where_the_pictures_set_the_width() -> None:
    assert seeds_needed(0.4, 0.5, pictures_variance=0.1) is None
    assert seeds_needed(0.4, 0.5, pictures_variance=0.05) == 12
    assert seeds_needed(0.0, 0.5) == 2


def test_advice_is_a_range() -> None:
    gaps = np.array([-1.0, 0.9, 0.3, -0.4, 1.4])
    sd = gaps.std(ddof=1)
    low, high = more_seeds(found(gaps), 0.5)
    assert low == (seeds_needed(sd, 0.5) or 0) - 5
    assert high == (seeds_needed(sd * np.sqrt(4 / 1.6488), 0.5) or 0) - 5
    assert more_seeds(found(gaps, 0.2), 0.5) == (None, None)
    assert more_seeds(found(gaps, 0.2), 0.5, "these_pictures") == (low, high)


def test_pictures_that_a_width_takes() -> None:
    one = found(np.array([-1.0, 0.9, 0.3, -0.4, 1.4]), 0.2)
    assert pictures_half(one) == pytest.approx(1.971957 * np.sqrt(0.2), rel=1e-6)
    assert pictures_needed(one, 0.5, 200) == 623


def wanted(of: Difference, until: float | None) -> bool:
    return wants_seeds(of.new.half, pictures_half(of), until)


def test_seeds_are_wanted_by_the_width_alone() -> None:
    gaps = np.array([-1.0, 0.9, 0.3, -0.4, 1.4])
    for shift in (0.0, 5.0, -5.0):
        assert wanted(found(gaps + shift), 0.5)
        assert not wanted(found(gaps + shift), 1.3)
        assert not wanted(found(gaps + shift), None)
        assert not wanted(found(gaps + shift, 0.2), 0.5), "the pictures set the width"
        assert wants_seeds(found(gaps + shift, 0.2).these.half, 0.0, 0.5)


@pytest.mark.slow
def test_coverage_where_the_width_decides_when_to_stop() -> None:
    """From 5 seeds on, half width 0.5 AP wanted, sd 0.6: between 92.3 and 95.6 % by the design."""
    rng, covered = np.random.default_rng(0), []
    for gaps in rng.normal(0, 0.6, (4000, 40)):
        count = 5
        while wanted(found(gaps[:count]), 0.5) and count < 40:
            count += 1
        covered.append(abs(found(gaps[:count]).mean) <= found(gaps[:count]).these.half)
    assert 92 <= 100 * np.mean(covered) <= 96


@pytest.mark.slow
def test_advice_is_enough_as_often_as_told() -> None:
    """Of studies of 5 seeds, with the seeds that the advice adds."""
    rng, reached = np.random.default_rng(0), []
    for gaps in rng.normal(0, 0.6, (2000, 60)):
        low, high = more_seeds(found(gaps[:5]), 0.5)
        if low is not None and high is not None and high <= 55 and found(gaps[:5]).these.half > 0.5:
            reached.append([found(gaps[: 5 + more]).these.half <= 0.5 for more in (low, high)])
    plain, bound = 100 * np.mean(reached, axis=0)
    assert 70 < plain < 85 < 95 < bound
