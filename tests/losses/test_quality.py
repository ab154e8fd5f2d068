"""Objectness and centre-ness by formula and by hand."""

import math

import pytest
import torch
import torchvision

from detectors.losses.quality import (
    Centerness,
    CenternessWeight,
    IoUObjectness,
    IoUQuality,
    IoUWeight,
    Objectness,
    centerness,
)
from detectors.ops.boxes import aligned_iou, centers
from tests.losses.loss_examples import gradients, matched, value

STATES = ("+-i--+i-", "-++--ii-")


def cross_entropy(logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((5.0, 10.0), 1.0),  # the middle
        ((2.0, 10.0), math.sqrt(2 / 8)),
        ((2.0, 4.0), math.sqrt(2 / 8 * 4 / 16)),
        ((0.0, 10.0), 0.0),  # on a side
        ((-3.0, 10.0), 0.0),  # outside
        ((12.0, 25.0), 0.0),  # outside twice
    ],
)
def test_centerness_by_hand(point: tuple, expected: float) -> None:
    """In a box of 10 x 20 (FCOS, eq. 3)."""
    found = centerness(torch.tensor(point), torch.tensor([0.0, 0, 10, 20]))
    assert found.item() == pytest.approx(expected)


def test_centerness_of_an_empty_box_is_nothing() -> None:
    assert centerness(torch.tensor([5.0, 5]), torch.tensor([5.0, 5, 5, 5])) == 0


def test_centerness_teaches_positives_how_central_they_are() -> None:
    given = matched(*STATES)
    points = centers(given.predictions.priors.boxes).expand(2, -1, -1)
    half = 1 + 30 * torch.rand(2, 8, 4)
    around = torch.cat([points - half[..., :2], points + half[..., 2:]], dim=-1)
    given = given._replace(target_boxes=around)
    rows = given.positive > 0
    quality = given.predictions.quality
    assert quality is not None
    targets = centerness(points[rows], around[rows]).tolist()
    expected = sum(map(cross_entropy, quality[rows].tolist(), targets))
    assert value(Centerness(weight=2.0), given).item() == pytest.approx(2 * expected, rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_giou_weighted_by_centerness_is_a_weighted_mean(scale: float) -> None:
    """Official FCOS divides by the sum of the weights, however small."""
    given = matched(*STATES)
    points = centers(given.predictions.priors.boxes).expand(2, -1, -1)
    left, right = 0.1 + torch.rand(2, 8, 2), scale * torch.rand(2, 8, 2)
    around = torch.cat([points - left, points + right], dim=-1)
    given = given._replace(target_boxes=around)
    rows = given.positive > 0
    costs, central = torch.rand(2, 8) * given.positive, centerness(points[rows], around[rows])
    weight = CenternessWeight()(given)
    assert (weight[~rows] == 1).all()
    found = (costs * weight).sum() / rows.sum()
    torch.testing.assert_close(found, (costs[rows] * central).sum() / central.sum())
    assert CenternessWeight()(given._replace(positive=0 * given.positive)).isfinite().all()


def test_objectness_is_one_for_positives_zero_for_background_and_neither_between() -> None:
    given = matched(*STATES)
    quality = given.predictions.quality
    assert quality is not None
    states = "".join(STATES)
    expected = sum(
        cross_entropy(logit, float(state == "+"))
        for logit, state in zip(quality.flatten().tolist(), states, strict=True)
        if state != "i"
    )
    assert value(Objectness(weight=2.0), given).item() == pytest.approx(2 * expected, rel=1e-5)


def test_objectness_by_overlap_is_the_iou_for_positives_and_a_constant() -> None:
    given = matched(*STATES)
    quality = given.predictions.quality
    assert quality is not None
    expected = 0.0
    for place, state in enumerate("".join(STATES)):
        rows = divmod(place, len(STATES[0]))
        pair = (given.boxes[rows][None], given.target_boxes[rows][None])
        iou = torchvision.ops.box_iou(*pair).item()
        if state != "i":
            expected += cross_entropy(quality[rows].item(), iou * (state == "+"))
    term = IoUObjectness(weight=2.0)
    assert value(term, given).item() == pytest.approx(2 * expected, rel=1e-5)
    assert not gradients(term, given).boxes.any()


def test_iou_quality_teaches_positives_how_well_they_fit() -> None:
    given = matched(*STATES)
    assert given.predictions.quality is not None
    expected = 0.0
    for image, prior in given.positive.nonzero().tolist():
        pair = given.boxes[image, prior][None], given.target_boxes[image, prior][None]
        fit = torchvision.ops.box_iou(*pair).item()
        q = given.predictions.quality[image, prior].sigmoid().item()
        expected -= fit * math.log(q) + (1 - fit) * math.log(1 - q)
    assert value(IoUQuality(weight=0.5), given).item() == pytest.approx(expected / 2, rel=1e-4)
    assert not gradients(IoUQuality(), given).boxes.any(), "the fit is a constant"


def test_giou_weighted_by_iou_is_a_weighted_mean() -> None:
    """PAA's release divides by the sum of the IoUs."""
    given = matched(*STATES)
    rows = given.positive > 0
    fit = aligned_iou(given.boxes, given.target_boxes).detach()[rows]
    costs, weight = torch.rand(2, 8) * given.positive, IoUWeight()(given)
    assert not weight.requires_grad
    assert (weight[~rows] == 1).all()
    found = (costs * weight).sum() / rows.sum()
    torch.testing.assert_close(found, (costs[rows] * fit).sum() / fit.sum())
    assert IoUWeight()(given._replace(positive=0 * given.positive)).isfinite().all()
