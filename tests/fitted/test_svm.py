"""A linear support vector machine by scikit-learn is the one of its definition."""

import builtins
from typing import Any

import numpy as np
import pytest

from detectors.fitted.svm import linear_svm, unconverged


def test_two_points_are_parted_in_the_middle() -> None:
    """Their margins are 1 and -1, by weights 2 / d^2 (a - b)."""
    pytest.importorskip("sklearn")
    a, b = np.array([[2.0, 1.0]], np.float32), np.array([[-2.0, 1.0]], np.float32)
    machine = linear_svm(a, b, 1e3, rounds=100_000)
    assert machine.converged
    np.testing.assert_allclose(machine.weights, [0.5, 0], atol=1e-3)
    np.testing.assert_allclose(machine.margins(np.concatenate([a, b])), [1, -1], atol=1e-3)


def test_its_cost_is_below_that_of_its_neighbours() -> None:
    pytest.importorskip("sklearn")
    draw = np.random.default_rng(0)
    positives = draw.normal(0.5, 1, (40, 3)).astype(np.float32)
    negatives = draw.normal(-0.5, 1, (60, 3)).astype(np.float32)
    machine = linear_svm(positives, negatives, 0.1, positive_cost=2.0, rounds=100_000)

    def cost(weights: np.ndarray) -> float:
        hinge = 0.0
        for rows, sign, factor in ((positives, 1, 2.0), (negatives, -1, 1.0)):
            for row in rows:
                hinge += factor * max(0.0, 1 - sign * (row @ weights[:3] + weights[3]))
        return weights @ weights / 2 + 0.1 * hinge  # liblinear's bias costs like a weight

    found = np.append(machine.weights, machine.bias).astype(float)
    for direction in np.concatenate([np.eye(4), draw.standard_normal((20, 4))]):
        for step in (-0.02, 0.02):
            assert cost(found) < cost(found + step * direction) + 1e-4


def test_one_kind_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="3 positive and 0 negative"):
        linear_svm(np.zeros((3, 2), np.float32), np.zeros((0, 2), np.float32), 1.0)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def lacking(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return plain(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", lacking)
    rows = np.zeros((1, 2), np.float32)
    with pytest.raises(ValueError, match=r"lightning-detectors\[classical\]"):
        linear_svm(rows, rows, 1.0)


def test_a_machine_that_was_not_done_is_told_with_the_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("sklearn")
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(60, 20)).astype(np.float32)
    machines = [linear_svm(rows[:30], rows[30:], 100.0, rounds=n) for n in (2, 2, 100_000)]
    assert [machine.converged for machine in machines] == [False, False, True]
    assert unconverged(machines, 2) == {"machines that did not converge": 2}
    assert "2 of 3 support vector machines were not done after part.fitted.rounds=2" in caplog.text
    assert unconverged(machines[2:], 2) == {}
