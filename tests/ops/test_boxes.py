"""Box geometry worked by hand, against torchvision, and for boxes without area."""

import math

import pytest
import torch
import torchvision
from torch import Tensor

from detectors.ops.boxes import aligned_iou, area, clip, pairwise_iou, pairwise_shape_iou
from tests.examples import random_boxes

KINDS = ["iou", "giou", "diou", "ciou"]
TORCHVISION = {
    "iou": torchvision.ops.box_iou,
    "giou": torchvision.ops.generalized_box_iou,
    "diou": torchvision.ops.distance_box_iou,
    "ciou": torchvision.ops.complete_box_iou,
}
UPRIGHT_ASPECT = 4 / math.pi**2 * (math.atan(2) - math.atan(0.5)) ** 2
WORKED = {
    # Two squares of side 10, one moved by half: 25 shared, 175 together, hull 15 x 15.
    ((0, 0, 10, 10), (5, 5, 15, 15)): {
        "iou": 1 / 7,
        "giou": 1 / 7 - 50 / 225,
        "diou": 1 / 7 - 50 / 450,
        "ciou": 1 / 7 - 50 / 450,
    },
    # Upright and lying: 100 shared, 300 together, hull 20 x 20, centres (5, 10) and (10, 5).
    ((0, 0, 10, 20), (0, 0, 20, 10)): {
        "iou": 1 / 3,
        "giou": 1 / 3 - 1 / 4,
        "diou": 1 / 3 - 1 / 16,
        "ciou": 1 / 3 - 1 / 16 - UPRIGHT_ASPECT**2 / (2 / 3 + UPRIGHT_ASPECT),
    },
    # Side by side with a gap as wide as each of them.
    ((0, 0, 10, 10), (20, 0, 30, 10)): {
        "iou": 0,
        "giou": -1 / 3,
        "diou": -400 / 1000,
        "ciou": -400 / 1000,
    },
}
EMPTY = [(5, 5, 5, 5), (5, 0, 5, 10), (0, 5, 10, 5), (50, 50, 50, 50)]
BOX = (0, 0, 10, 10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", WORKED)
def test_boxes_worked_by_hand(pair: tuple, kind: str) -> None:
    a, b = torch.tensor(pair, dtype=torch.float32)
    assert aligned_iou(a, b, kind).item() == pytest.approx(WORKED[pair][kind], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_torchvision_pair_by_pair(kind: str) -> None:
    a, b = random_boxes(40), random_boxes(30)
    expected = TORCHVISION[kind](a, b)
    torch.testing.assert_close(pairwise_iou(a, b, kind), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_pairwise_is_the_aligned_form_broadcast(kind: str) -> None:
    a, b = random_boxes(2, 5), random_boxes(2, 5)
    diagonal = pairwise_iou(a, b, kind).diagonal(dim1=1, dim2=2)
    assert torch.equal(diagonal, aligned_iou(a, b, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_one_for_a_box_and_itself_and_the_same_both_ways(kind: str) -> None:
    a, b = random_boxes(50), random_boxes(50)
    torch.testing.assert_close(aligned_iou(a, a, kind), torch.ones(50))
    torch.testing.assert_close(aligned_iou(a, b, kind), aligned_iou(b, a, kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_the_unit_changes_nothing(kind: str, unit: float) -> None:
    a, b = random_boxes(50), random_boxes(50)
    in_unit = aligned_iou(a * unit, b * unit, kind)
    torch.testing.assert_close(in_unit, aligned_iou(a, b, kind), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize("other", [BOX, *EMPTY])
def test_empty_boxes_have_finite_overlaps_and_gradients(
    kind: str, empty: tuple, other: tuple
) -> None:
    a = torch.tensor(empty, dtype=torch.float32, requires_grad=True)
    b = torch.tensor(other, dtype=torch.float32, requires_grad=True)
    value = aligned_iou(a, b, kind)
    value.backward()
    assert value.isfinite()
    assert a.grad is not None
    assert a.grad.isfinite().all()
    assert b.grad is not None
    assert b.grad.isfinite().all()


@pytest.mark.parametrize("empty", EMPTY)
def test_an_empty_box_overlaps_nothing_not_even_itself(empty: tuple) -> None:
    a = torch.tensor(empty, dtype=torch.float32)
    others = torch.tensor([BOX, empty], dtype=torch.float32)
    assert aligned_iou(a, others).tolist() == [0.0, 0.0]


def test_a_box_turned_inside_out_is_empty() -> None:
    boxes = torch.tensor([(10.0, 0, 0, 10), (0, 10.0, 10, 0), (10.0, 10, 0, 0)])
    assert area(boxes).tolist() == [0.0, 0.0, 0.0]
    assert aligned_iou(boxes, torch.tensor([BOX])).tolist() == [0.0, 0.0, 0.0]


def test_the_aspect_weight_of_ciou_takes_no_gradient() -> None:
    """With centres and IoU held still, d ciou / d v is -alpha (Zheng et al. 2020, eq. 12)."""
    a = torch.tensor([0.0, 0, 10, 20], requires_grad=True)
    b = torch.tensor([0.0, 0, 20, 10])
    (aligned_iou(a, b, "ciou") - aligned_iou(a, b, "diou")).backward()
    leaf = a.detach().requires_grad_()
    sides = leaf[2:] - leaf[:2]
    v = 4 / math.pi**2 * (math.atan(2) - torch.atan(sides[0] / sides[1])) ** 2
    (-(v / (2 / 3 + v)).detach() * v).backward()
    torch.testing.assert_close(a.grad, leaf.grad)


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'siou' is unknown: choose iou, giou, diou"):
        aligned_iou(torch.zeros(4), torch.zeros(4), "siou")  # type: ignore[arg-type]


def test_clipped_boxes_lie_in_their_frame() -> None:
    frames = torch.tensor([[0.0, 0, 20, 10], [5.0, 5, 20, 20]])[:, None]
    boxes = torch.tensor([[-5.0, -5, 30, 30], [2.0, 3, 9, 9], [40.0, 2, 50, 8]])
    expected: Tensor = torch.tensor(
        [
            [[0.0, 0, 20, 10], [2.0, 3, 9, 9], [20.0, 2, 20, 8]],
            [[5.0, 5, 20, 20], [5.0, 5, 9, 9], [20.0, 5, 20, 8]],
        ]
    )
    assert torch.equal(clip(boxes, frames), expected)


def test_shape_overlap_is_the_overlap_on_a_common_centre() -> None:
    a, b = torch.rand(6, 2) * 50 + 1, torch.rand(9, 2) * 50 + 1
    centred = pairwise_iou(torch.cat([-a, a], -1), torch.cat([-b, b], -1))
    torch.testing.assert_close(pairwise_shape_iou(a, b), centred)
