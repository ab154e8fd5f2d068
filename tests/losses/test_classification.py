"""Class losses against plain loops, torchvision and the papers' worked numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from detectors.losses.classification import (
    BinaryCrossEntropy,
    Focal,
    GaussianFocal,
    HeatmapFocal,
    SoftmaxCrossEntropy,
)
from detectors.structures import Matched
from tests.losses.loss_examples import gradients, matched, value

STATES = ("+-i--+i-", "-++--ii-")


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def entries(given: Matched, mask: Tensor) -> list[tuple[float, float]]:
    """(logit, target) of every class of the priors in `mask`."""
    logits, scores = given.predictions.logits[mask > 0], given.target_scores[mask > 0]
    return list(zip(logits.flatten().tolist(), scores.flatten().tolist(), strict=True))


def single(logit: float, target: float, classes: int = 1) -> Matched:
    """One prior with a given logit and class target, positive unless that is zero."""
    given = matched("+" if target else "-", classes=classes)
    logits = torch.full((1, 1, classes), logit, requires_grad=True)
    return given._replace(
        predictions=given.predictions._replace(logits=logits),
        target_scores=torch.full((1, 1, classes), target),
    )


def focal_by_formula(logit: float, target: float, alpha: float, gamma: float) -> float:
    p = sigmoid(logit) if target else 1 - sigmoid(logit)
    return -(alpha if target else 1 - alpha) * (1 - p) ** gamma * math.log(p)


def gaussian_by_formula(logit: float, target: float) -> float:
    p = sigmoid(logit)
    if target == 1:
        return -((1 - p) ** 2) * math.log(p)
    return -((1 - target) ** 4) * p**2 * math.log(1 - p)


@pytest.mark.parametrize("background", [True, False])
def test_cross_entropy_with_and_without_background(background: bool) -> None:
    given = matched(*STATES)
    mask = given.counted if background else given.positive
    expected = sum(
        -math.log(sigmoid(logit)) if target else -math.log(1 - sigmoid(logit))
        for logit, target in entries(given, mask)
    )
    loss = value(BinaryCrossEntropy(background, weight=3.0), given)
    assert loss.item() == pytest.approx(3 * expected, rel=1e-5)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.75, 0.5), (0.5, 0.0)])
def test_focal_is_its_formula_and_torchvisions(alpha: float, gamma: float) -> None:
    given = matched(*STATES)
    expected = sum(focal_by_formula(*e, alpha, gamma) for e in entries(given, given.counted))
    loss = value(Focal(alpha, gamma, weight=2.0), given)
    assert loss.item() == pytest.approx(2 * expected, rel=1e-5)
    counted = given.counted > 0
    theirs = torchvision.ops.sigmoid_focal_loss(
        given.predictions.logits[counted], given.target_scores[counted], alpha, gamma, "sum"
    )
    torch.testing.assert_close(loss, 2 * theirs)


@pytest.mark.parametrize(("p", "times"), [(0.9, 100), (0.968, 1000)])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_focal_plays_down_easy_priors_as_published(p: float, times: float, target: float) -> None:
    """RetinaNet, sec. 3.2: at gamma 2 a hundredth at p_t = 0.9, a thousandth at 0.968."""
    given = single(math.log(p / (1 - p)) * (1 if target else -1), target)
    plain, focal = value(Focal(0.5, gamma=0.0), given), value(Focal(0.5, gamma=2.0), given)
    assert (plain / focal).item() == pytest.approx(times, rel=0.03)


def test_fresh_focal_of_a_rare_class_prior() -> None:
    """RetinaNet, sec. 4.1: starting at p = 0.01, background costs 0.75 * 1e-4 * 0.01005 each."""
    loss = value(Focal(), single(-math.log(0.99 / 0.01), 0.0))
    assert loss.item() == pytest.approx(0.75 * 0.01**2 * -math.log(0.99), rel=1e-3)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("logit", [-200.0, -30.0, 0.0, 30.0, 200.0])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_focal_is_finite_for_every_published_gamma(
    gamma: float, logit: float, target: float
) -> None:
    """RetinaNet, table 1b, tries 0.1 to 5; below 1 the factor has an infinite slope at its end."""
    given = single(logit, target)
    assert value(Focal(0.25, gamma), given).isfinite()
    assert gradients(Focal(0.25, gamma), given).logits.isfinite().all()


def test_gaussian_focal_is_cornernets_formula() -> None:
    given = matched(*STATES)
    soft = torch.rand_like(given.target_scores).where(given.target_scores < 1, 1.0)
    given = given._replace(target_scores=soft)
    expected = sum(gaussian_by_formula(*e) for e in entries(given, given.counted))
    loss = value(GaussianFocal(weight=0.5), given)
    assert loss.item() == pytest.approx(expected / 2, rel=1e-5)


def test_heatmap_focal_is_the_formula_of_centernet2() -> None:
    """A heat map whose peaks need not be positives; sure points of the rest cost nothing."""
    given = matched(*STATES)
    heat = torch.rand_like(given.target_scores)
    heat[0, 1] = 1.0  # a peak on a level that is not made for the object
    logits = (3 * torch.randn_like(heat)).requires_grad_()
    raw = given.predictions._replace(logits=logits)
    given = given._replace(predictions=raw, target_scores=heat)
    expected = 0.0
    for image, states in enumerate(STATES):
        for prior, state in enumerate(states):
            if state == "i":
                continue
            for label in range(heat.shape[-1]):
                p = logits[image, prior, label].sigmoid().item()
                y = heat[image, prior, label].item()
                if p < 0.85:
                    expected -= 0.75 * (1 - y) ** 4 * p**2 * math.log(1 - p)
                if state == "+" and label == given.labels[image, prior]:
                    expected -= 0.25 * (1 - p) ** 2 * math.log(p)
    assert value(HeatmapFocal(weight=0.5), given).item() == pytest.approx(expected / 2, rel=1e-4)


def test_gaussian_focal_by_hand() -> None:
    """At p = 1/2 a peak and bare ground cost log 2 / 4, half way down a sixteenth of that."""
    peak = math.log(2) / 4
    for target, expected in ((1.0, peak), (0.5, peak / 16), (0.0, peak)):
        assert value(GaussianFocal(), single(0.0, target)).item() == pytest.approx(expected)


def test_gaussian_focal_lets_neighbours_of_a_peak_be_sure() -> None:
    """The nearer to a peak, the less a high score costs."""
    costs = [value(GaussianFocal(), single(2.0, target)).item() for target in (0.0, 0.3, 0.6, 0.9)]
    assert costs == sorted(costs, reverse=True)


def test_softmax_is_cross_entropy_with_the_background_first() -> None:
    given = matched(*STATES)
    wide = torch.randn(*given.labels.shape, 4)
    given = given._replace(predictions=given.predictions._replace(logits=wide))
    classes = torch.where(given.positive > 0, given.labels + 1, 0)
    expected = F.cross_entropy(wide.flatten(0, 1), classes.flatten(), reduction="none")
    loss = value(SoftmaxCrossEntropy(weight=2.0), given)
    torch.testing.assert_close(loss, 2 * (expected * given.counted.flatten()).sum())


@pytest.mark.parametrize(
    "term", [BinaryCrossEntropy(background=True), Focal(), GaussianFocal(), SoftmaxCrossEntropy()]
)
def test_the_right_answer_costs_nothing(term: nn.Module) -> None:
    given = matched(*STATES)
    logits = 60 * (given.target_scores - 0.5)
    if isinstance(term, SoftmaxCrossEntropy):
        background = 30 * (1 - 2 * given.positive[..., None])
        logits = torch.cat([background, logits], dim=-1)
    given = given._replace(predictions=given.predictions._replace(logits=logits))
    assert value(term, given).item() == pytest.approx(0, abs=1e-4)
