"""Quality and distribution focal loss against the formulas as loops."""

import math

import pytest
import torch
import torchvision

from detectors.coders import DistanceDistribution
from detectors.losses.generalized_focal import ClassScore, DistributionFocal, QualityFocal
from detectors.structures import Matched
from tests.examples import points
from tests.losses.loss_examples import CLASSES, gradients, matched, value

STATES = ("+-i--+i-", "-++--ii-")
BINS = 4


@pytest.mark.parametrize("beta", [2.0, 0.5])
def test_quality_focal_is_its_formula(beta: float) -> None:
    given = matched(*STATES)
    expected = 0.0
    for image, prior in given.counted.nonzero().tolist():
        pair = given.boxes[image, prior][None], given.target_boxes[image, prior][None]
        fit = torchvision.ops.box_iou(*pair).item() * given.positive[image, prior].item()
        for c in range(CLASSES):
            p = given.predictions.logits[image, prior, c].sigmoid().item()
            y = fit * (c == given.labels[image, prior].item())
            cross_entropy = -(1 - y) * math.log(1 - p) - y * math.log(p)
            expected += abs(y - p) ** beta * cross_entropy
    term = QualityFocal(beta, weight=2.0)
    assert value(term, given).item() == pytest.approx(2 * expected, rel=1e-4)
    assert not gradients(term, given).boxes.any(), "the fit is a constant"


def _with_distributions(given: Matched) -> Matched:
    """Deltas of BINS + 1 places for each side, targets on and beyond both ends too."""
    deltas = torch.randn(*given.positive.shape, 4 * (BINS + 1), requires_grad=True)
    targets = torch.rand(*given.positive.shape, 4) * (BINS + 2) - 1
    targets[0, 0] = torch.tensor([2.0, -1.0, BINS + 3.0, BINS - 0.05])
    return given._replace(
        predictions=given.predictions._replace(deltas=deltas), target_deltas=targets
    )


def test_distribution_focal_is_its_formula() -> None:
    given = _with_distributions(matched(*STATES))
    expected = 0.0
    for image, prior in given.positive.nonzero().tolist():
        for side in range(4):
            row = given.predictions.deltas[image, prior, side * (BINS + 1) :][: BINS + 1].tolist()
            normal = math.log(sum(math.exp(x) for x in row))
            target = min(max(given.target_deltas[image, prior, side].item(), 0.0), BINS - 0.1)
            i = math.floor(target)
            expected += (i + 1 - target) * (normal - row[i]) / 4
            expected += (target - i) * (normal - row[i + 1]) / 4
    term = DistributionFocal(weight=0.25)
    assert value(term, given).item() == pytest.approx(0.25 * expected, rel=1e-5)


def test_distribution_focal_is_least_where_the_mean_is_the_target() -> None:
    """Its minimum are the two neighbours in the right shares, whose mean the coder decodes."""
    given = matched("+")
    target = torch.tensor([[[0.5, 1.25, 2.0, 3.5]]])
    deltas = torch.zeros(1, 1, 4 * (BINS + 1), requires_grad=True)
    optimizer = torch.optim.LBFGS([deltas], max_iter=200)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        raw = given.predictions._replace(deltas=deltas)
        loss = value(DistributionFocal(1.0), given._replace(predictions=raw, target_deltas=target))
        loss.backward()
        return loss

    optimizer.step(closure)
    priors = points([8], height=8, width=8)
    coder = DistanceDistribution(BINS)
    boxes = coder.decode(deltas.detach(), priors)
    torch.testing.assert_close(coder.encode(boxes, priors), target, atol=2e-2, rtol=0)


def test_boxes_count_by_their_class_score_relative_to_the_mean() -> None:
    given = matched(*STATES)
    logits = 5 * torch.randn_like(given.predictions.logits).abs()
    given = given._replace(predictions=given.predictions._replace(logits=logits))
    scores = logits.sigmoid().amax(-1)
    positive = given.positive > 0
    expected = torch.where(positive, scores / scores[positive].mean(), 1.0)
    torch.testing.assert_close(ClassScore()(given), expected)


def test_low_scores_are_not_blown_up() -> None:
    """The sum of the scores counts as one if it is less."""
    given = matched("+-+")
    logits = torch.full_like(given.predictions.logits, -3.0)
    given = given._replace(predictions=given.predictions._replace(logits=logits))
    found = ClassScore()(given)
    torch.testing.assert_close(found[0, 0], 2 * torch.tensor(-3.0).sigmoid())
