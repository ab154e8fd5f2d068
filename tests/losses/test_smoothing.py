"""Label smoothing of every class loss that takes it, class by class by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from detectors.losses.classification import BinaryCrossEntropy, Focal, SoftmaxCrossEntropy
from detectors.losses.mining import HardNegativeCrossEntropy
from detectors.losses.squares import SoftmaxClass, SquaredClass
from detectors.structures import Matched
from tests.losses.loss_examples import CLASSES, matched_for, value
from tests.losses.test_contract import configured

SMOOTHED = {k: term for k, term in configured("class_loss").items() if hasattr(term, "smoothing")}
STATES = ("+-i--+i-", "-++--ii-")
SMOOTHING = 0.2
TERMS = [
    BinaryCrossEntropy(),
    BinaryCrossEntropy(background=False),
    Focal(),
    SoftmaxCrossEntropy(),
    HardNegativeCrossEntropy(ratio=100.0),
    SoftmaxClass(),
    SquaredClass(),
]


def _cost(term: nn.Module, logits: list[float], label: int | None) -> float:
    """Of one counted prior; label None: background."""
    classes = range(CLASSES)
    if isinstance(term, (BinaryCrossEntropy, Focal)):
        half = 0.0 if label is None else SMOOTHING / 2
        wanted = [(1 - SMOOTHING) * (c == label) + half for c in classes]
        return sum(_logistic(term, *pair) for pair in zip(logits, wanted, strict=True))
    if isinstance(term, SquaredClass):
        wanted = [(1 - SMOOTHING) * (c == label) + SMOOTHING / CLASSES for c in classes]
        return sum((w - x) ** 2 / 2 for w, x in zip(wanted, logits, strict=True))
    right = label if isinstance(term, SoftmaxClass) else 0 if label is None else 1 + label
    normal = math.log(sum(math.exp(x) for x in logits))
    wanted = [(1 - SMOOTHING) * (c == right) + SMOOTHING / len(logits) for c in range(len(logits))]
    return sum(w * (normal - x) for w, x in zip(wanted, logits, strict=True))


def _logistic(term: nn.Module, logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    if isinstance(term, BinaryCrossEntropy):
        return -target * math.log(p) - (1 - target) * math.log(1 - p)
    affirmed = -0.25 * (1 - p) ** 2 * math.log(p)
    return target * affirmed - (1 - target) * 0.75 * p**2 * math.log(1 - p)


def _looks_at(term: nn.Module, given: Matched) -> Tensor:
    positives_alone = isinstance(term, (SoftmaxClass, SquaredClass))
    background = getattr(term, "background", not positives_alone)
    return given.counted if background else given.positive


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
def test_is_its_formula(term: nn.Module) -> None:
    given = matched_for(term, *STATES)
    term.smoothing = SMOOTHING
    costs = term(given)
    for place in _looks_at(term, given).nonzero().tolist():
        image, prior = place
        label = int(given.labels[image, prior]) if given.positive[image, prior] else None
        expected = _cost(term, given.predictions.logits[image, prior].tolist(), label)
        assert costs[image, prior].item() == pytest.approx(expected, rel=1e-5)
    term.smoothing = 0.0


@pytest.mark.parametrize("term", SMOOTHED.values(), ids=SMOOTHED.keys())
def test_a_little_of_it_is_near_none(term: nn.Module) -> None:
    """Both ways of the focal loss, with and without smoothing, are one loss."""
    given = matched_for(term, *STATES)
    plain = value(term, given)
    term.smoothing = 1e-6
    torch.testing.assert_close(value(term, given), plain, rtol=1e-4, atol=1e-4)
    term.smoothing = 0.0
