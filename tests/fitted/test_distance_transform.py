"""The best placement against every displacement tried."""

import numpy as np
import pytest

from detectors.fitted.distance_transform import best_placement


@pytest.mark.parametrize("reach", [0, 1, 4, None])
@pytest.mark.parametrize("shape", [(7, 9), (1, 6), (12, 2)])
def test_is_that_of_brute_force(shape: tuple[int, int], reach: int | None) -> None:
    response = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    deformation = np.array([0.02, 0.03, 0.1, -0.05])
    score, dy, dx = best_placement(response, deformation, reach)
    most = max(shape) if reach is None else reach
    for y, x in np.ndindex(shape):
        tried = {}
        for v, u in np.ndindex(shape):
            down, right = v - y, u - x
            if max(abs(down), abs(right)) <= most:
                cost = deformation @ [right**2, right, down**2, down]
                tried[down, right] = response[v, u] - cost
        assert score[y, x] == pytest.approx(max(tried.values()), abs=1e-5)
        assert tried[dy[y, x], dx[y, x]] == pytest.approx(score[y, x], abs=1e-5)


def test_a_part_stays_where_nothing_is_better() -> None:
    score, dy, dx = best_placement(np.zeros((3, 4), np.float32), np.array([0.1, 0, 0.1, 0]))
    assert not score.any()
    assert not dy.any()
    assert not dx.any()
