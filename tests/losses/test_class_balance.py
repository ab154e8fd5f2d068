"""Class weights follow from the number of each class's objects."""

import pytest
import torch

from detectors.layers.progress import tell_counts
from detectors.losses.class_balance import ClassBalancedWeight
from tests.losses.loss_examples import matched


def test_weights_by_hand() -> None:
    """Effective numbers 1, 1.5 and 1.75 of 1, 2 and 3 objects (Cui et al. 2019, eq. 2)."""
    balance = ClassBalancedWeight(3, beta=0.5)
    balance.count(torch.tensor([1, 2, 3]))
    inverse = torch.tensor([1.0, 2 / 3, 4 / 7])
    torch.testing.assert_close(balance.weights, inverse / inverse.mean())


def test_counts_alike_weigh_one() -> None:
    balance = ClassBalancedWeight(3, beta=0.999)
    balance.count(torch.tensor([40, 40, 40]))
    torch.testing.assert_close(balance.weights, torch.ones(3))


def test_a_class_without_objects_is_finite() -> None:
    balance = ClassBalancedWeight(2, beta=0.999)
    balance.count(torch.tensor([0, 1]))
    torch.testing.assert_close(balance.weights, torch.ones(2))


def test_positives_get_the_weight_of_their_class_and_background_one() -> None:
    balance = ClassBalancedWeight(3, beta=0.9)
    tell_counts(balance, torch.tensor([1, 10, 100]))
    given = matched("+-i-++", "+---ii")
    expected = [
        [balance.weights[label] if state else 1.0 for label, state in zip(*rows, strict=True)]
        for rows in zip(given.labels, given.positive, strict=True)
    ]
    assert torch.equal(balance(given), torch.tensor(expected))


def test_beta_is_checked() -> None:
    with pytest.raises(ValueError, match="beta=1"):
        ClassBalancedWeight(3, beta=1.0)
