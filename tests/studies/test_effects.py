"""In simulated studies intervals cover what they promise, and few winners are false."""

import math

import numpy as np
import pytest
from scipy import stats

from detectors.studies.effects import (
    DRAWS,
    Difference,
    difference,
    differences,
    dunnett,
    equivalence,
    holm,
    satterthwaite,
    scatter_ratio,
    scatter_ratio_by_chance,
    tost,
)

STUDIES = 4000
SEED_NOISE, SHARED = 0.4, 0.6  # AP points; correlation of variants at equal seeds
PICTURES = 200


def simulated(
    rng: np.random.Generator, studies: int, variants: int, seeds: int, pictures: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """AP [studies, variants, seeds] without effects, and pictures' variances [studies, variants].

    With pictures, a variant differs in 30 % of them, by as much again with every seed.
    """
    noise = rng.normal(0, SEED_NOISE, (studies, variants, seeds)) * math.sqrt(1 - SHARED)
    noise += rng.normal(0, SEED_NOISE, (studies, 1, seeds)) * math.sqrt(SHARED)
    if not pictures:
        return noise, np.zeros((studies, variants))
    changed = rng.random((studies, variants, 1, PICTURES)) < 0.3
    steady = rng.normal(0, 6, (studies, variants, 1, PICTURES))
    own = changed * (steady + rng.normal(0, 6, (studies, variants, seeds, PICTURES)))
    own[:, 0] = 0
    variance = own.mean(axis=2).var(axis=-1, ddof=1) / PICTURES
    return noise + own.mean(axis=-1), variance


def judged(values: np.ndarray, pictures: np.ndarray, **how: str) -> dict[int, Difference]:
    """The differences of variants 1, 2, ... from variant 0, of values [variants, seeds]."""
    told = {str(v): dict(enumerate(row)) for v, row in enumerate(values.tolist())}
    variance = {str(v): each for v, each in enumerate(pictures.tolist())}
    return {int(v): one for v, one in differences(told, "0", variance, **how).items()}


def percent(hits: list[bool]) -> float:
    return 100 * float(np.mean(hits))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_coverage_on_these_pictures(seeds: int) -> None:
    values, pictures = simulated(np.random.default_rng(seeds), STUDIES, 2, seeds)
    found = [judged(*study)[1].these for study in zip(values, pictures, strict=True)]
    assert 94 <= percent([one.low <= 0 <= one.high for one in found]) <= 96


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_coverage_on_new_pictures(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    found = []
    for _ in range(STUDIES // 500):
        values, pictures = simulated(rng, 500, 2, seeds, pictures=True)
        pictures *= rng.chisquare(DRAWS - 1, pictures.shape) / (DRAWS - 1)  # by so many draws
        found += [judged(*study)[1] for study in zip(values, pictures, strict=True)]
    assert 94 <= percent([one.new.low <= 0 <= one.new.high for one in found]) <= 97.5
    assert percent([one.these.low <= 0 <= one.these.high for one in found]) < 94


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize(
    "how",
    [{}, {"variance": "pooled"}, {"variance": "pooled", "adjust": "dunnett"}],
    ids=["paired, Holm", "pooled, Holm", "pooled, Dunnett"],
)
def test_few_false_winners_among_ten_variants(how: dict[str, str], seeds: int) -> None:
    values, pictures = simulated(np.random.default_rng(seeds), STUDIES, 11, seeds)
    won = [
        any(one.mean > 0 and (one.p_adjusted or 0) < 0.05 for one in judged(*study, **how).values())
        for study in zip(values, pictures, strict=True)
    ]
    assert 1.5 <= percent(won) <= 3.2


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_what_differs_by_the_margin_is_rarely_equal(seeds: int) -> None:
    values, pictures = simulated(np.random.default_rng(seeds), STUDIES, 2, seeds)
    values[:, 1] += 0.5
    found = [judged(*study)[1] for study in zip(values, pictures, strict=True)]
    assert percent([tost(one, 0.5, "these_pictures") for one in found]) <= 5.5


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_coverage_of_pooled_intervals(seeds: int) -> None:
    values, pictures = simulated(np.random.default_rng(seeds), STUDIES, 5, seeds)
    found = [
        judged(*study, variance="pooled")[1].these for study in zip(values, pictures, strict=True)
    ]
    assert 94 <= percent([one.low <= 0 <= one.high for one in found]) <= 96


def test_two_variants_by_hand() -> None:
    """Differences 1, 2 and 3: mean 2, standard error 1/sqrt(3), t of 2 degrees 4.3027."""
    a, b = {0: 11.0, 1: 22.0, 2: 33.0, 7: 5.0}, {2: 30.0, 1: 20.0, 0: 10.0, 9: 1.0}
    found = difference(a, b, 0.25)
    assert found.per_seed == (1, 2, 3)
    assert found.seeds == (0, 1, 2)
    assert found.mean == 2
    assert found.these.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert found.these.low == pytest.approx(2 - 4.302653 / math.sqrt(3), rel=1e-6)
    assert found.new.se == pytest.approx(math.sqrt(1 / 3 + 0.25))
    # Satterthwaite's 6.1 degrees make an interval shorter than that of these pictures.
    alone = (7 / 12) ** 2 / (1 / 18 + 1 / 16 / (DRAWS - 1))
    assert alone == pytest.approx(6.09, abs=0.01)
    assert found.new.half == pytest.approx(found.these.half)
    more = difference(a, b, 4.0).new
    assert more.df == pytest.approx((13 / 3) ** 2 / (1 / 18 + 16 / (DRAWS - 1)))
    assert more.half == pytest.approx(stats.t.ppf(0.975, more.df) * math.sqrt(13 / 3))
    assert found.p == pytest.approx(2 * stats.t.sf(2 / found.new.se, found.new.df))
    of_these = difference(a, b, 0.25, "these_pictures")
    assert of_these.p == pytest.approx(stats.ttest_1samp([1, 2, 3], 0).pvalue)


def test_fewer_than_two_common_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="1 seeds in common, expected 2 or more"):
        difference({0: 1.0, 1: 2.0}, {1: 1.0, 2: 3.0}, 0.0)


def test_variants_without_two_common_seeds_are_left_out() -> None:
    values = {"plain": {0: 1.0, 1: 2.0, 2: 4.0}, "a": {0: 2.0, 1: 2.5}, "b": {2: 5.0}}
    found = differences(values, "plain", {"a": 0.0})
    assert list(found) == ["a"]
    assert found["a"].seeds == (0, 1)
    assert found["a"].p_adjusted == found["a"].p


def test_what_does_not_scatter_is_not_tested() -> None:
    values = {"plain": {0: 1.0, 1: 2.0}, "a": {0: 1.0, 1: 2.0}, "b": {0: 1.5, 1: 2.5}}
    found = differences(values, "plain", {"a": 0.0, "b": 0.0}, adjust="dunnett")
    assert [one.p for one in found.values()] == [1.0, 1.0]
    assert [one.p_adjusted for one in found.values()] == [1.0, 1.0]
    assert found["b"].these[:3] == (0.5, 0.5, 0)
    assert not tost(found["a"], 0.5)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_satterthwaite_between_its_parts() -> None:
    assert satterthwaite([(2.0, 4), (0.0, math.inf)]) == (2.0, 4)
    assert satterthwaite([(1.0, 4), (1.0, 4)]) == (2.0, 8)
    assert satterthwaite([(0.0, 4), (1.0, math.inf)]) == (1.0, math.inf)


def test_dunnett_is_scipys() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(0, 1, 6) for _ in range(4)]
    expected = stats.dunnett(*groups[1:], control=groups[0], rng=np.random.default_rng(0)).pvalue
    scatter = math.sqrt(np.mean([group.var(ddof=1) for group in groups]) / 3)
    ts = [(group.mean() - groups[0].mean()) / scatter for group in groups[1:]]
    assert [dunnett(t, 20, 3) for t in ts] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("df", "comparisons", "critical"),
    [(10, 1, 2.228), (10, 2, 2.57), (20, 4, 2.65), (5, 4, 3.48), (math.inf, 9, 2.69)],
)
def test_critical_values_are_dunnetts(df: float, comparisons: int, critical: float) -> None:
    """Two-sided 5 %, Dunnett 1964, table II; the first is the plain t."""
    assert (
        dunnett(critical - 0.006, df, comparisons)
        > 0.05
        > dunnett(critical + 0.006, df, comparisons)
    )


def test_pooled_is_the_analysis_of_variance_of_blocks() -> None:
    values = np.random.default_rng(0).normal(0, 1, (4, 5)) + np.arange(5)
    found = judged(values, np.zeros(4), variance="pooled", claim="these_pictures")
    rest = values - values.mean(axis=0) - values.mean(axis=1)[:, None] + values.mean()
    variance = (rest**2).sum() / 12
    assert found[2].these.df == 12
    assert found[2].these.se == pytest.approx(math.sqrt(2 * variance / 5))
    assert found[2].mean == pytest.approx((values[2] - values[0]).mean())
    told = {str(v): dict(enumerate(row)) for v, row in enumerate(values.tolist())}
    alone = values.std(axis=1)
    assert scatter_ratio(told) == pytest.approx(alone.max() / alone.min())


def test_the_ratio_of_scatters_is_told_beside_what_chance_makes_of_it() -> None:
    # Hartley's table of F_max at 5 %: 39.0 for two variances of 2 degrees of freedom, 25.2 for five
    # of 4.
    assert scatter_ratio_by_chance(2, 3) == pytest.approx(39.0**0.5, rel=0.05)
    assert scatter_ratio_by_chance(5, 5) == pytest.approx(25.2**0.5, rel=0.05)


@pytest.mark.parametrize("seeds", [2, 3])
def test_new_pictures_are_never_known_better_than_these(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    for _ in range(50):
        values = dict(enumerate(random.normal(0, 1, seeds)))
        found = difference(values, dict.fromkeys(values, 0.0), random.exponential(0.2))
        assert found.new.half >= found.these.half * (1 - 1e-9)
        assert (found.p < 0.05) == (found.new.low > 0 or found.new.high < 0)


def test_equal_is_the_ninety_percent_interval() -> None:
    found = difference({0: 0.1, 1: 0.3, 2: 0.2}, dict.fromkeys(range(3), 0.0), 0.0)
    within = equivalence(found)
    assert within.half == pytest.approx(2.919986 * found.new.se, rel=1e-6)
    assert tost(found, within.high + 1e-6)
    assert not tost(found, within.high - 1e-6)
