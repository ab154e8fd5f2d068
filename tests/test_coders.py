"""Decoding undoes encoding, and both follow papers and torchvision."""

import math

import pytest
import torch
from torch import nn
from torchvision.models.detection._utils import BoxCoder, BoxLinearCoder

from detectors.coders import (
    CellOffset,
    CenterOffset,
    ClassDelta,
    Delta,
    Distance,
    GaussianCorners,
    LogDistance,
    PointOffset,
    Shares,
    Yolo,
)
from detectors.ops.boxes import centers, sides
from detectors.ops.selection import gather_rows
from detectors.structures import PriorRows, Priors
from tests.examples import points, random_boxes, shapes

SIDES = [[(10.0, 13.0), (33.0, 23.0)], [(62.0, 45.0), (20.0, 61.0)]]


def proposals(*shape: int) -> Priors:
    """Random boxes as priors of one level."""
    return Priors(random_boxes(*shape), torch.ones(shape[-1]), (shape[-1],), (64, 64))


def boxes_around(priors: Priors) -> torch.Tensor:
    """One box [1, N, 4] for each prior, whose centre lies in the cell and which holds the point."""
    center = centers(priors.boxes) + (torch.rand(1, len(priors.stride), 2) - 0.5) * (
        0.99 * priors.stride[:, None]
    )
    half = priors.stride[:, None] * (0.5 + 4 * torch.rand(1, len(priors.stride), 2))
    return torch.cat([center - half, center + half], dim=-1)


CASES = {
    "delta": (Delta(), points([8, 16])),
    "delta weighted": (Delta((10.0, 10.0, 5.0, 5.0)), shapes([8, 16], SIDES)),
    "distance": (Distance(), points([8, 16])),
    "distance from corners": (Distance(), points([8, 16], offset=0.4)),
    "yolo": (Yolo(), shapes([8, 16], SIDES)),
    "yolo of one scale": (Yolo(1.2), shapes([8, 16], SIDES)),
    "yolo of a scale per level": (Yolo([1.2, 1.05]), shapes([8, 16], SIDES)),
    "yolo with reach": (Yolo(reach=0.8), shapes([8, 16], SIDES)),
    "center offset": (CenterOffset(), points([4])),
    "cell offset": (CellOffset(), points([8, 16])),
    "shares": (Shares(), shapes([8, 16], SIDES)),
    "gaussian corners": (GaussianCorners(), shapes([8, 16], SIDES)),
}


@pytest.mark.parametrize("name", CASES)
def test_decode_undoes_encode(name: str) -> None:
    coder, priors = CASES[name]
    boxes = boxes_around(priors)
    decoded = coder.decode(coder.encode(boxes, priors), priors)
    torch.testing.assert_close(decoded, boxes, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_an_unmatched_prior_is_a_finite_target_of_itself(name: str) -> None:
    coder, priors = CASES[name]
    deltas = coder.encode(priors.boxes, priors)
    assert deltas.isfinite().all()
    torch.testing.assert_close(coder.decode(deltas, priors), priors.boxes, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_boxes_without_area_encode_to_finite_numbers(name: str) -> None:
    coder, priors = CASES[name]
    assert coder.encode(torch.zeros_like(priors.boxes), priors).isfinite().all()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("value", [-1e4, 0.0, 1e4])
def test_runaway_outputs_decode_to_finite_boxes_with_finite_gradients(
    name: str, value: float
) -> None:
    coder, priors = CASES[name]
    deltas = torch.full_like(priors.boxes, value, requires_grad=True)
    boxes = coder.decode(deltas, priors)
    boxes.sum().backward()
    assert boxes.isfinite().all()
    assert (sides(boxes) >= 0).all()
    assert deltas.grad is not None
    assert deltas.grad.isfinite().all()


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_delta_is_torchvisions_box_coder(weights: tuple) -> None:
    """Large growths included, which both cut at log(1000 / 16)."""
    theirs, ours, priors = BoxCoder(weights), Delta(weights), proposals(1, 40)
    boxes, deltas = random_boxes(1, 40), torch.randn(1, 40, 4) * 5 * torch.tensor(weights)
    expected = theirs.encode_single(boxes[0], priors.boxes[0])
    torch.testing.assert_close(ours.encode(boxes, priors)[0], expected, atol=1e-5, rtol=1e-5)
    expected = theirs.decode_single(deltas[0], priors.boxes[0])
    torch.testing.assert_close(ours.decode(deltas, priors)[0], expected, atol=1e-2, rtol=1e-5)


def test_delta_by_hand() -> None:
    """Half a side to the right, twice as tall."""
    priors = Priors(torch.tensor([[[0.0, 0, 10, 20]]]), torch.ones(1), (1,), (64, 64))
    deltas = Delta().encode(torch.tensor([[[5.0, -10, 15, 30]]]), priors)
    torch.testing.assert_close(deltas, torch.tensor([[[0.5, 0, 0, math.log(2)]]]))


def test_shares_by_hand() -> None:
    """Centre (30, 20) and sides 40 x 10 of an image of 100 x 80, whose corner is (0, 0)."""
    priors = Priors(torch.tensor([[[0.0, 0, 100, 80]]]), torch.ones(1), (1,), (80, 100))
    deltas = Shares().encode(torch.tensor([[[10.0, 15, 50, 25]]]), priors)
    torch.testing.assert_close(deltas, torch.tensor([[[0.3, 0.25, 0.4, 0.125]]]))


def test_gaussian_corners_by_hand() -> None:
    """A tenth of a side to the right and up, and as much larger below; deviations e and 1."""
    priors = Priors(torch.tensor([[[0.0, 0, 10, 20]]]), torch.ones(1), (1,), (64, 64))
    coder = GaussianCorners(weight=10.0)
    deltas = coder.encode(torch.tensor([[[1.0, -2, 11, 22]]]), priors)
    torch.testing.assert_close(deltas, torch.tensor([[[1.0, -1, 1, 1]]]))
    unsure = torch.cat([deltas, torch.tensor([[[2.0, 0, 0, 0]]])], dim=-1)
    torch.testing.assert_close(coder.decode(unsure, priors), torch.tensor([[[1.0, -2, 11, 22]]]))
    torch.testing.assert_close(coder.deviations(unsure), torch.tensor([[[math.e, 1, 1, 1]]]))


def test_delta_decodes_a_box_of_every_class_from_one_proposal() -> None:
    priors, deltas = proposals(2, 6), torch.randn(2, 6, 3, 4)
    one_each = priors._replace(boxes=priors.boxes[:, :, None])
    decoded = Delta().decode(deltas, one_each)
    for label in range(3):
        torch.testing.assert_close(
            decoded[:, :, label], Delta().decode(deltas[:, :, label], priors)
        )


def test_delta_leaves_empty_proposals_finite() -> None:
    priors = Priors(torch.zeros(1, 3, 4), torch.ones(3), (3,), (64, 64))
    assert Delta().encode(random_boxes(1, 3), priors).isfinite().all()
    assert Delta().encode(priors.boxes, priors).abs().max() == 0


def test_distance_is_torchvisions_linear_coder() -> None:
    theirs, ours, priors = BoxLinearCoder(normalize_by_size=True), Distance(), points([8, 16])
    boxes = random_boxes(*priors.boxes.shape[:2])
    expected = theirs.encode(priors.boxes, boxes)
    torch.testing.assert_close(ours.encode(boxes, priors), expected)
    deltas = torch.randn(3, *priors.boxes.shape[1:])
    expected = theirs.decode(deltas.relu(), priors.boxes)
    torch.testing.assert_close(ours.decode(deltas, priors), expected)


def test_distance_by_hand() -> None:
    """From (12, 4) on stride 8: 12, 4, 4 and 12 px to the sides."""
    priors = points([8], height=8, width=16)
    deltas = Distance().encode(torch.tensor([[[0.0, 0, 16, 16]]]), priors)
    assert deltas[0, 1].tolist() == [1.5, 0.5, 0.5, 1.5]


def test_cell_offset_by_hand() -> None:
    """YOLOX: `(p + cell) * stride` for the centre, `exp(p) * stride` for the sides."""
    priors = points([8], height=8, width=16)
    deltas = torch.tensor([[[0.25, 0.5, 0.0, math.log(2)], [-1.0, 0.0, math.log(3), 0.0]]])
    boxes = torch.tensor([[[-2.0, -4, 6, 12], [-12, -4, 12, 4]]])
    torch.testing.assert_close(CellOffset().decode(deltas, priors), boxes)
    torch.testing.assert_close(CellOffset().encode(boxes, priors), deltas)


def test_distance_is_negative_outside() -> None:
    priors = points([8], height=8, width=16)
    deltas = Distance().encode(torch.tensor([[[6.0, 0, 16, 16]]]), priors)
    assert deltas[0, 0].tolist() == [-0.25, 0.5, 1.5, 1.5]


@pytest.mark.parametrize(
    ("coder", "reach"),
    [(Yolo(), [0.5, 0.5]), (Yolo(1.2), [0.6, 0.6]), (Yolo([1.2, 1.05]), [0.6, 0.525])],
    ids=["v3", "one scale", "scale per level"],
)
def test_yolo_centres_reach_as_far_as_their_scale_allows(coder: nn.Module, reach: list) -> None:
    """From the middle of the cell in strides: `s * (sigmoid - 1/2)` at both ends of the sigmoid."""
    priors = shapes([8, 16], SIDES)
    for sign in (-1.0, 1.0):
        deltas = torch.tensor([sign * 50, sign * 50, 0.0, 0.0]).expand_as(priors.boxes)
        moved = centers(coder.decode(deltas, priors)) - centers(priors.boxes)
        levels = (moved[0] / priors.stride[:, None]).split(list(priors.level_sizes))
        for rows, limit in zip(levels, reach, strict=True):
            torch.testing.assert_close(rows, torch.full_like(rows, sign * limit))


def test_yolo_by_hand() -> None:
    """Cell (1, 0) of stride 8, prior 10 x 13: sigmoid(log 3) = 3/4 of the cell, twice as wide."""
    priors = shapes([8], SIDES[:1], height=8, width=16)
    deltas = torch.tensor([math.log(3), 0.0, math.log(2), 0.0])
    box = Yolo().decode(deltas.expand(1, 4, 4), priors)[0, 2]
    torch.testing.assert_close(box, torch.tensor([14.0 - 10, 4 - 6.5, 14 + 10, 4 + 6.5]))


@pytest.mark.parametrize("scale", [1.0, 1.2])
def test_yolo_encodes_centres_on_the_border_of_the_cell(scale: float) -> None:
    priors = shapes([8], SIDES[:1], height=8, width=8)
    boxes = torch.tensor([[[-2.0, 3, 2, 13]]]).expand(1, 2, 4)  # centre (0, 8): two borders
    deltas = Yolo(scale).encode(boxes, priors)
    assert deltas.isfinite().all()
    decoded = Yolo(scale).decode(deltas, priors)
    torch.testing.assert_close(decoded, boxes, atol=1e-4, rtol=0)


def test_a_scale_for_each_level_and_no_more() -> None:
    priors = shapes([8, 16], SIDES)
    with pytest.raises(ValueError, match=r"3 scales .* 2 levels"):
        Yolo([1.2, 1.1, 1.05]).decode(torch.zeros_like(priors.boxes), priors)


def test_center_offset_by_hand() -> None:
    """Centre (7, 9) in cell (1, 2) of stride 4: offset 3/4 and 1/4; 8 x 12 px are 2 x 3 strides."""
    priors = points([4], height=16, width=16)
    cell = 2 * 4 + 1
    deltas = CenterOffset().encode(torch.tensor([[[3.0, 3, 11, 15]]]), priors)
    assert deltas[0, cell].tolist() == [0.75, 0.25, 2.0, 3.0]


def test_reach_of_grid_sensitivity_is_that_of_yolov4s_three_scales() -> None:
    """Which were written for strides 8, 16 and 32; here also for the last of them alone."""
    torch.manual_seed(0)
    three = shapes([8, 16, 32], [*SIDES, [(50.0, 40.0)]])
    alone = shapes([32], [[(50.0, 40.0)]])
    coder = Yolo(reach=0.8)
    for priors, scale in ((three, [1.2, 1.1, 1.05]), (alone, [1.05])):
        deltas = 3 * torch.randn(2, len(priors.stride), 4)
        torch.testing.assert_close(
            coder.decode(deltas, priors), Yolo(scale).decode(deltas, priors), atol=1e-3, rtol=1e-5
        )


@pytest.mark.parametrize("scale", [[1.2, 1.1, 1.05], 1.05])
def test_grid_sensitivity_is_not_given_twice(scale: float | list[float]) -> None:
    with pytest.raises(ValueError, match="already"):
        Yolo(scale, reach=0.8)


@pytest.mark.parametrize("name", CASES)
def test_rows_of_priors_encode_as_the_priors_do(name: str) -> None:
    coder, priors = CASES[name]
    count = priors.boxes.shape[1]
    boxes, index = random_boxes(2, count), torch.randint(count, (2, 30))
    rows = PriorRows(gather_rows(priors.boxes, index), priors.stride[index], priors.level[index])
    expected = gather_rows(coder.encode(boxes, priors), index)
    torch.testing.assert_close(coder.encode(gather_rows(boxes, index), rows), expected)


def test_log_distance_by_hand() -> None:
    """From (12, 4) on stride 8, so 16 px: 32, 4, 4 and 1000 px, the last cut to 16 times 16."""
    priors = points([8], height=8, width=16)
    deltas = LogDistance().encode(torch.tensor([[[-20.0, 0, 16, 1004]]]), priors)
    expected = [math.log(2), math.log(1 / 4), math.log(1 / 4), math.log(16)]
    torch.testing.assert_close(deltas[0, 1], torch.tensor(expected))
    box = LogDistance().decode(deltas, priors)[0, 1]
    torch.testing.assert_close(box, torch.tensor([-20.0, 0, 16, 4 + 256]))


def test_log_distance_cuts_what_lies_outside() -> None:
    """Of a side that lies on or behind the point a sixteenth of the level's side is left."""
    priors = points([8], height=8, width=16)
    deltas = LogDistance().encode(torch.tensor([[[6.0, 4, 16, 16]]]), priors)
    torch.testing.assert_close(deltas[0, 0, :2], torch.full((2,), -math.log(16)))


def test_a_point_is_its_cell_and_its_offset() -> None:
    """By hand: the middle (10, 21) of a box lies in the third cell of the sixth row of four."""
    priors = points([4], 32, 16)
    place = 5 * 4 + 2
    box = torch.tensor([2.0, 20, 18, 22]).expand(1, 32, 4)
    deltas = PointOffset().encode(box, priors)
    torch.testing.assert_close(deltas[0, place], torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(
        PointOffset().decode(deltas, priors), torch.tensor([10.0, 21, 10, 21]).expand(1, 32, 4)
    )


def test_deltas_of_a_class_have_its_mean_and_deviation() -> None:
    coder = ClassDelta(2)
    coder.mean[1] = torch.tensor([0.1, -0.2, 0.3, 0.0])
    coder.deviation[1] = torch.tensor([0.5, 0.25, 0.2, 1.0])
    priors = proposals(3, 6)
    boxes, labels = random_boxes(3, 6), torch.tensor([[0, 1, 1, 0, 1, 0]] * 3)
    plain = Delta((10.0, 10.0, 5.0, 5.0)).encode(boxes, priors)
    found = coder.encode_own(boxes, priors, labels)
    torch.testing.assert_close(found[labels == 0], plain[labels == 0])
    own = Delta().encode(boxes, priors)[labels == 1]
    torch.testing.assert_close(found[labels == 1], (own - coder.mean[1]) / coder.deviation[1])
    torch.testing.assert_close(coder.decode_own(found, priors, labels), boxes, atol=1e-3, rtol=1e-4)
    whole = found[:, :, None].expand(3, 6, 2, 4)
    each = coder.decode(whole, priors._replace(boxes=priors.boxes[:, :, None]))
    chosen = each.gather(2, labels[..., None, None].expand(3, 6, 1, 4)).squeeze(2)
    torch.testing.assert_close(chosen, boxes, atol=1e-3, rtol=1e-4)
    assert {"mean", "deviation"} <= coder.state_dict().keys()


def test_a_coder_without_classes_takes_labels_for_nothing() -> None:
    priors, labels = proposals(1, 5), torch.zeros(1, 5, dtype=torch.int64)
    boxes, coder = random_boxes(1, 5), Delta()
    assert torch.equal(coder.encode_own(boxes, priors, labels), coder.encode(boxes, priors))
    deltas = torch.randn(1, 5, 4)
    assert torch.equal(coder.decode_own(deltas, priors, labels), coder.decode(deltas, priors))
