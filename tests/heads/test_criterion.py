"""A criterion weights, mines and normalises the costs of its terms."""

import pytest
import torch
from torch import Tensor

from detectors.coders import Delta
from detectors.heads.criterion import Criterion
from detectors.losses import LossTerm, LossWeight, Mining
from detectors.losses.class_balance import ClassBalancedWeight
from detectors.losses.mining import HardNegativeCrossEntropy
from detectors.losses.reduction import per_batch_counted
from detectors.structures import Assignment, Matched
from tests.examples import predictions, shapes, targets

PRIORS = shapes([8], [[(6.0, 9.0)]], height=8, width=48)


class Cost(LossTerm):
    """The same for every counted prior."""

    def __init__(self, cost: float) -> None:
        super().__init__()
        self.cost = cost

    def forward(self, matched: Matched) -> Tensor:
        return self.cost * matched.counted


class Place(LossWeight):
    """1, 2, 3, ... from the first prior on."""

    def forward(self, matched: Matched) -> Tensor:
        return matched.counted.new_ones(matched.counted.shape).cumsum(1)


class First(Mining):
    """The first two priors; keeps the costs that it was shown."""

    def forward(self, costs: Tensor, matched: Matched) -> Tensor:
        self.costs = costs
        return (torch.arange(costs.shape[1]) < 2).float().expand_as(costs)


def _losses(**settings: object) -> dict[str, float]:
    """Of one image with six priors, the third ignored; divided by those that count."""
    terms = {"class": Cost(1.0), "box": Cost(10.0)}
    criterion = Criterion(3, Delta(), terms, per_batch_counted, **settings)
    raw = predictions(PRIORS, 1, 3)
    ignored = torch.tensor([[False, False, True, False, False, False]])
    nothing = torch.zeros_like(ignored)
    assignment = Assignment(nothing.long(), nothing, ignored)
    found = criterion(raw, torch.rand(1, 6, 4), targets([]), assignment)
    return {name: term.item() for name, term in found.items()}


def test_a_term_is_its_costs_by_the_normaliser() -> None:
    assert _losses() == {"class": 1.0, "box": 10.0}


def test_factors_multiply_their_term_alone() -> None:
    found = _losses(loss_weights={"class": {"place": Place(), "again": Place()}})
    assert found["class"] == pytest.approx((1 + 4 + 16 + 25 + 36) / 5)
    assert found["box"] == 10.0


def test_a_factor_without_its_term_is_refused() -> None:
    with pytest.raises(ValueError, match=r"part\.loss_weights\.quality\.place.*class, box"):
        _losses(loss_weights={"quality": {"place": Place()}})


def test_weights_of_classes_that_are_not_predicted_are_refused() -> None:
    terms, weights = {"class": Cost(1.0)}, {"class": {"balance": ClassBalancedWeight(3, beta=0.9)}}
    Criterion(3, Delta(), terms, per_batch_counted, weights)
    told = r"part\.loss_weights\.class: ClassBalancedWeight tells 3 classes apart.* predicts 1: "
    with pytest.raises(ValueError, match=told):
        Criterion(1, Delta(), terms, per_batch_counted, weights)


def test_a_selection_beside_a_term_that_selects_is_refused() -> None:
    terms = {"class": HardNegativeCrossEntropy()}
    with pytest.raises(ValueError, match="HardNegativeCrossEntropy has chosen already"):
        Criterion(3, Delta(), terms, per_batch_counted, mining=First())


def test_a_selection_sees_the_sum_and_leaves_the_rest_out_of_the_normaliser_too() -> None:
    first = First()
    assert _losses(mining=first) == {"class": 1.0, "box": 10.0}  # of two priors by two
    assert first.costs.tolist() == [[11.0, 11.0, 0.0, 11.0, 11.0, 11.0]]


class Mean(LossTerm):
    """What somebody may take for a loss: one number."""

    def forward(self, matched: Matched) -> Tensor:
        return matched.counted.mean()


def test_a_shape_that_would_be_broadcast_is_refused_with_the_name_of_the_part() -> None:
    priors, raw = torch.zeros(1, 6, dtype=torch.bool), predictions(PRIORS, 1, 3)
    assignment = Assignment(priors.long(), priors, priors)
    criterion = Criterion(3, Delta(), {"class": Mean()}, per_batch_counted)
    with pytest.raises(ValueError, match=r"^Mean gave \[\], expected .* \[B, N\] = \[1, 6\]"):
        criterion(raw, torch.rand(1, 6, 4), targets([]), assignment)


def test_each_term_may_have_a_normaliser_of_its_own() -> None:
    """Five priors count; the classes are divided by them and two more."""

    def more(positive: Tensor, counted: Tensor) -> Tensor:
        return per_batch_counted(positive, counted) + 2

    terms = {"class": Cost(1.0), "box": Cost(10.0)}
    criterion = Criterion(3, Delta(), terms, {"class": more, "box": per_batch_counted})
    nothing = torch.zeros(1, 6, dtype=torch.bool)
    assignment = Assignment(nothing.long(), nothing, torch.arange(6)[None] == 2)
    given = predictions(PRIORS, 1, 3), torch.rand(1, 6, 4), targets([]), assignment
    found = criterion(*given)
    assert found["class"] == 5 / 7
    assert found["box"] == 10.0
    with pytest.raises(ValueError, match=r"none for the term 'box'.*loss_normalizer=positives"):
        Criterion(3, Delta(), terms, {"class": more})
