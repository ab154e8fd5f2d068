"""The best placements against every displacement tried."""

import numpy as np
import pytest

from detectors.fitted.distance_transform import best_displacements, best_scores


@pytest.mark.parametrize("reach", [0, 1, 4])
@pytest.mark.parametrize("shape", [(7, 9), (1, 6), (12, 2)])
def test_is_that_of_brute_force(shape: tuple[int, int], reach: int) -> None:
    responses = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    deformations = np.array([[0.02, 0.03, 0.1, -0.05], [3.0, 0.5, 0.01, 0.0]])
    scores = best_scores(responses, deformations, reach)
    places = np.array(list(np.ndindex(shape)))
    moved = best_displacements(
        responses, deformations, np.stack([places, places], axis=1), reach
    ).reshape(*shape, 2, 2)
    for part, (y, x) in ((p, place) for p in (0, 1) for place in np.ndindex(shape)):
        tried = {}
        for v, u in np.ndindex(shape):
            down, right = v - y, u - x
            if max(abs(down), abs(right)) <= reach:
                cost = deformations[part] @ [right**2, right, down**2, down]
                tried[down, right] = responses[part, v, u] - cost
        assert scores[part, y, x] == pytest.approx(max(tried.values()), abs=1e-5)
        assert tried[tuple(moved[y, x, part].tolist())] == pytest.approx(
            scores[part, y, x], abs=1e-5
        )


def test_a_part_stays_where_nothing_is_better() -> None:
    responses, deformations = np.zeros((1, 3, 4), np.float32), np.array([[0.1, 0, 0.1, 0]])
    assert not best_scores(responses, deformations).any()
    corners = np.array([[[0, 0]], [[2, 3]], [[1, 2]]])
    assert not best_displacements(responses, deformations, corners).any()


def test_of_equally_good_places_the_nearest_is_taken() -> None:
    free, flat = np.zeros((1, 4)), np.zeros((1, 9, 9), np.float32)
    assert not best_displacements(flat, free, np.array([[[4, 4]]])).any()
