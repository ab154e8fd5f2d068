"""CenterNet2's targets against loops over points and objects."""

import math

import pytest
import torch

from detectors.assigners.gaussian_levels import GaussianLevels
from detectors.ops.boxes import centers
from detectors.structures import Assignment, Priors, Targets
from tests.examples import assignable_rows, points, predictions, random_targets, targets

STRIDES, RANGES, CLASSES = [8, 16, 32], [(0, 24), (16, 48), (32, math.inf)], 3
PRIORS = points(STRIDES, 128, 128)
PICTURES = {
    "random": random_targets(3, 8, CLASSES, canvas=128.0),
    "none": targets([], [(1, 10, 10, 50, 50, "ignore")]),
    "alike": targets([(0, 20, 20, 60, 60), (0, 20, 20, 60, 60), (2, 20, 20, 60, 60)]),
    "in one cell": targets([(1, 20, 20, 62, 60), (1, 30, 28, 50, 50)]),
    "outside and without area": targets([(0, 120, 120, 180, 170), (1, 40, 40, 40, 40)]),
}


def found(given: Targets, priors: Priors = PRIORS) -> Assignment:
    raw = predictions(priors, len(given.labels), CLASSES)
    return GaussianLevels(reach=(1.0, 3.0))(raw, raw.deltas, given)


@pytest.mark.parametrize("picture", PICTURES)
def test_targets_are_those_of_the_release(picture: str) -> None:
    given = PICTURES[picture]
    assignment = found(given)
    pairs = assignment.pairs
    assert pairs is not None
    assert assignment.scores is not None
    assert not assignment.ignored.any()
    places, levels, strides = centers(PRIORS.boxes)[0], PRIORS.level, PRIORS.stride
    for image in range(len(given.labels)):
        rows = assignable_rows(given, image)
        for prior in range(len(places)):
            (x, y), stride = places[prior].tolist(), strides[prior].item()
            low, high = RANGES[int(levels[prior])]
            heat, homes, near = [0.0] * CLASSES, {}, {}
            for row in rows:
                x1, y1, x2, y2 = given.boxes[image, row].tolist()
                cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
                dx = x // stride - cx // stride
                dy = y // stride - cy // stride
                square = max(2 / 81 * (x2 - x1) * (y2 - y1), 16)
                apart = ((x - cx) ** 2 + (y - cy) ** 2) / square
                if dx == dy == 0:
                    apart = 0.0
                value = math.exp(-apart)
                label = int(given.labels[image, row])
                heat[label] = max(heat[label], value if value >= 1e-4 else 0.0)
                if not low <= math.hypot(x2 - x1, y2 - y1) / 2 <= high:
                    continue
                if dx == dy == 0:
                    homes[row] = apart
                if abs(dx) <= 1 and abs(dy) <= 1 and x1 < x < x2 and y1 < y < y2:
                    near[row] = apart
            assert assignment.scores[image, prior].tolist() == pytest.approx(heat, abs=2e-5)
            assert bool(assignment.positive[image, prior]) == bool(homes)
            assert bool(pairs.weight[image, prior]) == bool(near)
            if homes:
                assert int(assignment.matched[image, prior]) == min(homes, key=homes.__getitem__)
            if near:
                owner = int(pairs.matched[image, prior])
                assert near[owner] == pytest.approx(min(near.values()), rel=1e-4, abs=1e-6)
                assert torch.equal(pairs.boxes[image, prior], given.boxes[image, owner])


def test_an_object_between_two_ranges_has_two_levels() -> None:
    """Half its diagonal is 19.8: from 16 to 24 two levels take it."""
    assignment = found(targets([(1, 44, 44, 72, 72)]))
    assert PRIORS.level[assignment.positive[0]].tolist() == [0, 1]
    assert assignment.pairs is not None
    assert PRIORS.level[assignment.pairs.weight[0] > 0].tolist() == [0] * 9 + [1]
    assert (assignment.scores[0] == 1).sum() == 3, "the peak is on every level"  # type: ignore[index]
