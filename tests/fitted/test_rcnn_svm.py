"""One pass of mining against a loop over windows, with a machine whose margins are known."""

import numpy as np
import pytest

from detectors.fitted import rcnn_svm
from detectors.fitted.rcnn_svm import Miner
from detectors.fitted.svm import Machine, linear_svm

POSITIVES = np.full((2, 1), 3.0, np.float32)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """The negatives of each fit; the margin of a window is its one number."""
    seen: list[list[float]] = []

    def fit(positives: np.ndarray, negatives: np.ndarray, *_: object) -> Machine:
        seen.append(negatives[:, 0].tolist())
        return Machine(np.ones(1, np.float32), 0.0, True)

    monkeypatch.setattr(rcnn_svm, "linear_svm", fit)
    return seen


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_all_of_the_first_picture_then_the_hard_ones_then_the_easy_are_forgotten(
    fits: list[list[float]],
) -> None:
    miner = Miner(POSITIVES, retrain=2)
    miner.see(column(-5, -1.1, 0), last=False)  # all; then -5 goes
    miner.see(column(-1.0002, -1, 1), last=False)  # two are hard, which is not more than two
    miner.see(column(-3, 2), last=False)  # the third: fitted
    miner.see(column(-2), last=True)  # none is hard, but it is the last
    expected = [[-5, -1.1, 0], [-1.1, 0, -1, 1, 2], [-1.1, 0, -1, 1, 2]]
    assert len(fits) == 3
    for found, wanted in zip(fits, expected, strict=True):
        np.testing.assert_allclose(found, wanted)
    assert miner.fits == 3


def test_pictures_without_negatives_wait_for_the_first(fits: list[list[float]]) -> None:
    miner = Miner(POSITIVES)
    miner.see(column(), last=False)
    assert miner.machine is None
    miner.see(column(-9.0), last=False)
    miner.see(column(), last=True)
    assert fits == [[-9.0]]  # which is forgotten, so that nothing is left to fit at the end


def naive(positives: np.ndarray, pictures: list[np.ndarray], retrain: int) -> Machine:
    """The release's loop, window by window."""
    machine, cache, added = None, [], 0
    for number, picture in enumerate(pictures):
        for row in picture:
            if machine is None or float(row @ machine.weights + machine.bias) > -1.0001:
                cache.append(row)
                added += 1
        if (machine is None or added > retrain or number == len(pictures) - 1) and cache:
            machine = linear_svm(positives, np.stack(cache), 1e-3, 0, 10.0, 2.0)
            added = 0
            margins = [float(row @ machine.weights + machine.bias) for row in cache]
            cache = [row for row, m in zip(cache, margins, strict=True) if not m < -1.2]
    assert machine is not None
    return machine


def test_machine_is_that_of_the_naive_loop() -> None:
    pytest.importorskip("sklearn")
    draw = np.random.default_rng(0)
    positives = draw.normal(2, 3, (12, 8)).astype(np.float32)
    pictures = [draw.normal(-2, 3, (n, 8)).astype(np.float32) for n in (15, 9, 20, 1, 12)]
    miner = Miner(positives, retrain=10)
    for number, picture in enumerate(pictures):
        miner.see(picture, number == len(pictures) - 1)
    expected = naive(positives, pictures, 10)
    assert miner.machine is not None
    np.testing.assert_allclose(miner.machine.weights, expected.weights, atol=1e-5)
    assert miner.machine.bias == pytest.approx(expected.bias, abs=1e-5)
