"""The one prior of an image gets its largest object."""

import torch

from detectors.assigners.largest import Largest
from detectors.priors import Canvas
from tests.examples import feature_maps, predictions, targets


def test_the_largest_object_that_may_be_assigned() -> None:
    priors = Canvas()(*feature_maps([32], 64, 96))
    objects = targets(
        [(0, 0, 0, 5, 5), (1, 10, 10, 30, 31), (2, 0, 0, 60, 60, "ignore")],
        [(0, 0, 0, 4, 6), (1, 8, 8, 14, 12)],  # as large: the first
        [(2, 0, 0, 60, 60, "ignore")],
        [],
    )
    guess = predictions(priors, 4, 3)
    found = Largest()(guess, torch.zeros(4, 1, 4), objects)
    assert found.matched.squeeze(1).tolist() == [1, 0, 0, 0]
    assert found.positive.squeeze(1).tolist() == [True, True, False, False]
    assert not found.ignored.any()
