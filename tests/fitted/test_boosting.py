"""AdaBoost worked by hand, and each of its searches by loops."""

import itertools

import numpy as np
import pytest

from detectors.fitted import boosting
from detectors.fitted.boosting import StumpSearch, adaboost


def _search(table: np.ndarray, positive: np.ndarray) -> StumpSearch:
    return StumpSearch(lambda part: table[part], len(table), positive)


def test_ten_samples_by_hand() -> None:
    """Half are objects. Of 0 to 9 these are 0, 1, 2, 6 and 7, and each weighs 1/10 at first.

    Below 2.5 all but 6 and 7 are right: e = 2/10. These weigh 1/4 then, the others 1/16.
    Below 7.5 all but 3, 4 and 5 are right: e = 3/16. These weigh 1/6, 6 and 7 2/13, others 1/26.
    From 5.5 on all but 0, 1, 2, 8 and 9 are right: e = 5/26. Together the three know all ten.
    """
    positive = np.isin(np.arange(10), [0, 1, 2, 6, 7])
    search = _search(np.arange(10, dtype=np.float32)[None], positive)
    stumps = list(itertools.islice(adaboost(search), 3))
    assert [(float(s.threshold), s.below) for s in stumps] == [
        (2.5, True),
        (7.5, True),
        (5.5, False),
    ]
    np.testing.assert_allclose([s.error for s in stumps], [2 / 10, 3 / 16, 5 / 26], rtol=1e-12)
    np.testing.assert_allclose([s.alpha for s in stumps], np.log([4, 13 / 3, 21 / 5]), rtol=1e-12)
    votes = sum(s.alpha * s.votes(np.arange(10)) for s in stumps)
    assert ((votes >= sum(s.alpha for s in stumps) / 2) == positive).all()


@pytest.mark.parametrize("block", [1, 1 << 18])
def test_the_best_stump_by_loops(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "_BLOCK", block)
    generator = np.random.default_rng(0)
    for _ in range(5):
        table = generator.integers(0, 6, (7, 12)).astype(np.float32)  # many are equal
        positive = np.arange(12) % 3 == 0
        weights = generator.random(12)
        weights /= weights.sum()
        errors = {
            (feature, threshold, below): weights[((row < threshold) == below) != positive].sum()
            for feature, row in enumerate(table)
            for threshold in np.unique(row)[1:]
            for below in (True, False)
        }
        found = _search(table, positive).best(weights)
        assert found.error == pytest.approx(min(errors.values()), abs=1e-12)
        wrong = found.votes(table[found.feature]) != positive
        assert weights[wrong].sum() == pytest.approx(found.error, abs=1e-12)


def test_examples_that_no_feature_tells_apart_are_all_called_the_heavier_kind() -> None:
    alike, positive = np.ones((2, 4), np.float32), np.array([True, False, False, False])
    found = _search(alike, positive).best(np.array([0.4, 0.2, 0.2, 0.2]))
    assert not found.votes(alike[0]).any()
    assert found.error == pytest.approx(0.4)
    found = _search(alike, positive).best(np.array([0.7, 0.1, 0.1, 0.1]))
    assert found.votes(alike[0]).all()
    assert found.error == pytest.approx(0.3)


def test_a_threshold_lies_between_two_floats_that_are_neighbours() -> None:
    low = np.float32(1)
    high = np.nextafter(low, np.float32(2))
    found = _search(np.array([[low, high]]), np.array([False, True])).best(np.array([0.5, 0.5]))
    assert found.votes(np.array([low, high])).tolist() == [False, True]
    assert found.error == 0
    assert np.isfinite(found.alpha)
