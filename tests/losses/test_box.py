"""Box losses by formula, against torchvision and against darknet's deltas."""

import math

import pytest
import torch
import torchvision
from torch import nn

from detectors.losses.box import GaussianKL, IoULoss, LogIoU, SmoothL1, YoloBox
from detectors.losses.squares import SquaredBox, YoloV2Box
from detectors.structures import Matched, Pairs
from tests.examples import random_boxes
from tests.losses.loss_examples import gradients, matched, matched_for, value

STATES = ("+-i--+i-", "-++--ii-")
TORCHVISION = {
    "giou": torchvision.ops.generalized_box_iou_loss,
    "diou": torchvision.ops.distance_box_iou_loss,
    "ciou": torchvision.ops.complete_box_iou_loss,
}


def positives(given: Matched) -> torch.Tensor:
    return given.positive > 0


@pytest.mark.parametrize("beta", [0.0, 1 / 9, 1.0])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (0.5, 0.5, 0.05, 0.05), (1.0, 0.5)])
def test_smooth_l1_is_its_formula(beta: float, weights: tuple) -> None:
    """Fast R-CNN, eq. 3: half a square over beta below beta, from there a line of slope one."""
    given = matched_for(SmoothL1(beta, weights), *STATES)
    rows = positives(given)
    errors = (given.predictions.deltas - given.target_deltas)[rows].abs().tolist()
    expected = sum(
        weight * (error**2 / 2 / beta if error < beta else error - beta / 2)
        for row in errors
        for error, weight in zip(row, weights, strict=True)
    )
    assert value(SmoothL1(beta, weights), given).item() == pytest.approx(expected, rel=1e-5)


def test_smooth_l1_is_of_boxes_or_of_points() -> None:
    with pytest.raises(ValueError, match="found 3 weights"):
        SmoothL1(1.0, (1.0, 1.0, 1.0))


def test_gaussian_kl_is_its_formula_with_the_gradient_of_the_release() -> None:
    """He et al. 2019, eqs. 9 and 10, side by side."""
    term = GaussianKL(weight=2.0)
    given = matched_for(term, *STATES)
    deltas, rows, expected = given.predictions.deltas, positives(given), 0.0
    for row, target in zip(deltas[rows].tolist(), given.target_deltas[rows].tolist(), strict=True):
        for side in range(4):
            error, alpha = abs(row[side] - target[side]), row[4 + side]
            cost = error**2 / 2 if error <= 1 else error - 0.5
            expected += 2 * (math.exp(-alpha) * cost + alpha / 2)
    assert value(term, given).item() == pytest.approx(expected, rel=1e-5)

    mean, alpha = deltas[rows].split(4, dim=-1)
    error = nn.functional.smooth_l1_loss(mean, given.target_deltas[rows], reduction="none")
    sure = (-alpha).exp()
    released = 2 * (sure.detach() * error + sure * error.detach() + alpha / 2).sum()
    (slope,) = torch.autograd.grad(released, deltas)
    torch.testing.assert_close(gradients(term, given).deltas, slope)


def test_iou_loss_by_hand() -> None:
    """Half of a box found: 1/2; nothing of the other: 1."""
    given = matched("++")._replace(
        boxes=torch.tensor([[[0.0, 0, 10, 5], [50, 50, 60, 60]]]),
        target_boxes=torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10]]]),
    )
    assert value(IoULoss("iou", weight=2.0), given).item() == pytest.approx(2 * 1.5)


def test_log_iou_by_hand() -> None:
    """Half of a box found: ln 2; all of it: nothing; one that meets nothing: no slope."""
    given = matched("+++")._replace(
        boxes=torch.tensor(
            [[[0.0, 0, 10, 5], [0, 0, 10, 10], [50, 50, 60, 60]]], requires_grad=True
        ),
        target_boxes=torch.tensor([[[0.0, 0, 10, 10]] * 3]),
    )
    costs = LogIoU(weight=2.0)(given)[0]
    expected = [2 * math.log(2), 0.0, 2 * math.log(1e6)]
    torch.testing.assert_close(costs, torch.tensor(expected), rtol=1e-5, atol=1e-6)
    (slope,) = torch.autograd.grad(costs.sum(), given.boxes)
    assert slope[0, 0, 3] == pytest.approx(-2 / 5)  # d of -2 ln(y2 / 10)
    assert not slope[0, 2].any()


@pytest.mark.parametrize("kind", TORCHVISION)
def test_overlap_losses_and_gradients_are_torchvisions(kind: str) -> None:
    """Boxes that meet and boxes far apart."""
    given = matched(*STATES)
    given = given._replace(target_boxes=random_boxes(2, 8))
    rows = positives(given)
    expected = TORCHVISION[kind](given.boxes[rows], given.target_boxes[rows], reduction="sum")
    torch.testing.assert_close(value(IoULoss(kind), given), expected)
    (slope,) = torch.autograd.grad(expected, given.boxes)
    torch.testing.assert_close(gradients(IoULoss(kind), given).boxes, slope)


def test_eiou_by_hand() -> None:
    """A 10 x 10 box beside the middle of one of 20 x 20, at one corner of it.

    IoU 1/4, centres 5 px apart each way, hull 20 x 20: 50 / 800; sides 10 px off: 2 * 100 / 400.
    """
    given = matched("+")._replace(
        boxes=torch.tensor([[[0.0, 0, 10, 10]]]), target_boxes=torch.tensor([[[0.0, 0, 20, 20]]])
    )
    expected = 1 - 1 / 4 + 50 / 800 + 2 * 100 / 400
    assert value(IoULoss("eiou"), given).item() == pytest.approx(expected)


def test_eiou_is_its_formula() -> None:
    """Zhang et al. 2021, sec. 3.2, pair by pair."""
    given = matched(*STATES)._replace(target_boxes=random_boxes(2, 8))
    expected = 0.0
    for a, b in zip(
        given.boxes[positives(given)], given.target_boxes[positives(given)], strict=True
    ):
        low, high = a[:2].minimum(b[:2]), a[2:].maximum(b[2:])
        width, height = (high - low).tolist()
        apart = ((a[:2] + a[2:] - b[:2] - b[2:]) / 2).tolist()
        wider, taller = ((a[2:] - a[:2]) - (b[2:] - b[:2])).tolist()
        expected += 1 - torchvision.ops.box_iou(a[None], b[None]).item()
        expected += (apart[0] ** 2 + apart[1] ** 2) / (width**2 + height**2)
        expected += wider**2 / width**2 + taller**2 / height**2
    assert value(IoULoss("eiou"), given).item() == pytest.approx(expected, rel=1e-5)


def test_mse_has_the_error_for_its_gradient() -> None:
    given = matched(*STATES)
    error = given.predictions.deltas - given.target_deltas
    found = gradients(SquaredBox(weight=1.0), given).deltas
    torch.testing.assert_close(found, error * given.positive[..., None])


def test_yolo_box_has_darknets_deltas_as_gradient() -> None:
    """`delta_yolo_box`: scale * (truth - sigmoid) of x and y, scale * (truth - raw) of w and h."""
    given = matched(*STATES)
    height, width = given.predictions.priors.canvas
    sides = given.target_boxes[..., 2:] - given.target_boxes[..., :2]
    scale = 2 - sides[..., :1] / width * sides[..., 1:] / height
    raw, truth = given.predictions.deltas, given.target_deltas
    center = raw[..., :2].sigmoid() - truth[..., :2].sigmoid()
    delta = -scale * torch.cat([center, raw[..., 2:] - truth[..., 2:]], dim=-1)
    found = gradients(YoloBox(), given).deltas
    rows = positives(given)
    torch.testing.assert_close(-found[rows], delta[rows])
    torch.testing.assert_close(gradients(YoloBox(weight=3.0), given).deltas, 3 * found)


def test_yolo_box_counts_small_objects_almost_twice() -> None:
    """An object as large as the canvas weighs 1, a tiny one 2."""
    given = matched("+")
    height, width = given.predictions.priors.canvas
    whole = torch.tensor([[[0.0, 0, width, height]]])
    tiny = torch.tensor([[[3.0, 3, 3.001, 3.001]]])
    large, small = (value(YoloBox(), given._replace(target_boxes=boxes)) for boxes in (whole, tiny))
    torch.testing.assert_close(small, 2 * large)


@pytest.mark.parametrize("kind", ["iou", "eiou", *TORCHVISION])
def test_the_right_box_costs_nothing(kind: str) -> None:
    given = matched(*STATES)
    assert value(IoULoss(kind), given._replace(boxes=given.target_boxes)).item() == pytest.approx(
        0, abs=1e-5
    )
    right = given.predictions._replace(deltas=given.target_deltas)
    assert value(SmoothL1(0.1), given._replace(predictions=right)) == 0


TERMS = [
    SmoothL1(0.1),
    YoloBox(),
    YoloV2Box(prior_weight=0.0).eval(),
    SquaredBox(),
    IoULoss("giou"),
]


@pytest.mark.parametrize("term", TERMS, ids=[type(term).__name__ for term in TERMS])
def test_a_prior_of_two_objects_costs_what_each_of_them_does(term: nn.Module) -> None:
    given = matched("+--")
    other = given._replace(target_boxes=given.target_boxes + 1, target_deltas=-given.target_deltas)
    pairs = Pairs(
        prior=torch.tensor([[0, 0, 2]]),
        matched=torch.tensor([[0, 1, 1]]),
        boxes=torch.stack([one.target_boxes[0, 0] for one in (given, other, other)])[None],
        weight=torch.tensor([[1.0, 0.5, 0.0]]),
        deltas=torch.stack([one.target_deltas[0, 0] for one in (given, other, other)])[None],
    )
    both = term(given._replace(pairs=pairs))
    torch.testing.assert_close(both, term(given) + term(other) / 2)
