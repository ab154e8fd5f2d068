"""YOLOv3's assignment against darknet's rules written as loops."""

import pytest
import torch
from torch import Tensor

from detectors.assigners.best_shape import BestShape
from detectors.ops.selection import gather_rows
from detectors.structures import Assignment, Priors, Targets
from tests.examples import assignable_rows, predictions, random_targets, targets
from tests.examples import shapes as priors_of

YOLOV3 = [
    [(10.0, 13.0), (16.0, 30.0), (33.0, 23.0)],
    [(30.0, 61.0), (62.0, 45.0), (59.0, 119.0)],
    [(116.0, 90.0), (156.0, 198.0), (373.0, 326.0)],
]
SMALL = [[(6.0, 9.0), (13.0, 5.0)], [(14.0, 24.0), (30.0, 16.0)]]
STRIDES = [8, 16]
CANVAS = 64
CLASSES = 3


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (both - width * height)


def prior_of(box: list[float], sides: list, strides: list[int], canvas: int) -> int:
    """Row of the prior that darknet trains: of all shapes the most alike, in the centre's cell."""
    width, height = box[2] - box[0], box[3] - box[1]
    best, start = (-1.0, 0), 0
    for shapes, stride in zip(sides, strides, strict=True):
        cells = canvas // stride
        column = int((box[0] + box[2]) / 2 / canvas * cells)
        row = int((box[1] + box[3]) / 2 / canvas * cells)
        for anchor, (w, h) in enumerate(shapes):
            shared = min(w, width) * min(h, height)
            alike = shared / (w * h + width * height - shared)
            if alike > best[0]:
                best = (alike, start + (row * cells + column) * len(shapes) + anchor)
        start += cells**2 * len(shapes)
    return best[1]


def by_loop(boxes: Tensor, objects: Targets, ignore: float) -> Assignment:
    """`forward_yolo_layer` without its losses: first what is near, then each object in turn."""
    batch, count = boxes.shape[:2]
    matched = torch.zeros(batch, count, dtype=torch.int64)
    positive = torch.zeros(batch, count, dtype=torch.bool)
    ignored = torch.zeros(batch, count, dtype=torch.bool)
    scores = torch.zeros(batch, count, CLASSES)
    for image in range(batch):
        rows = assignable_rows(objects, image)
        found = {row: objects.boxes[image, row].tolist() for row in rows}
        for n, box in enumerate(boxes[image].tolist()):
            ignored[image, n] = any(iou(box, found[row]) > ignore for row in rows)
        for row in rows:
            n = prior_of(found[row], SMALL, STRIDES, CANVAS)
            matched[image, n], positive[image, n], ignored[image, n] = row, True, False
            scores[image, n, objects.labels[image, row]] = 1.0
    return Assignment(matched, positive, ignored, scores)


def assigned(
    objects: Targets, priors: Priors, boxes: Tensor | None = None, ignore: float = 0.5
) -> Assignment:
    """Assignment of priors that predict `boxes`, by default empty ones far away."""
    batch, count = len(objects.boxes), priors.boxes.shape[1]
    boxes = torch.full((batch, count, 4), -99.0) if boxes is None else boxes
    return BestShape(ignore)(predictions(priors, batch, CLASSES), boxes, objects)


def positives(found: Assignment) -> dict[int, int]:
    """Matched object of each positive prior of the first image."""
    return {n: int(found.matched[0, n]) for n in found.positive[0].nonzero().flatten().tolist()}


@pytest.mark.parametrize("ignore", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_is_darknets_rule_written_as_loops(ignore: float, seed: int) -> None:
    """Crowded enough that objects meet in a cell and positives lie in the ignored zone."""
    torch.manual_seed(seed)
    objects = random_targets(2, 24, CLASSES)
    inside = objects.boxes[..., :2] + objects.boxes[..., 2:]
    objects = objects._replace(valid=objects.valid & (inside < 2 * CANVAS).all(-1))
    priors = priors_of(STRIDES, SMALL)
    near = gather_rows(objects.boxes, torch.randint(24, (2, priors.boxes.shape[1])))
    near = torch.where(torch.rand(near.shape[:2])[..., None] < 0.5, near, priors.boxes)
    near = near + 0.3 * torch.randn_like(near)
    found, expected = assigned(objects, priors, near, ignore), by_loop(near, objects, ignore)
    assert expected.ignored.any()
    for name in ("matched", "positive", "ignored", "scores"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


def test_worked_example() -> None:
    """100 px in the middle of 416: anchor 6 (116 x 90) is most alike, in cell (6, 6) of 13."""
    priors = priors_of([8, 16, 32], YOLOV3, 416, 416)
    found = assigned(targets([(2, 158, 158, 258, 258)]), priors)
    row = 3 * (52**2 + 26**2) + 3 * (6 * 13 + 6) + 0
    assert positives(found) == {row: 0}
    assert found.scores is not None
    assert found.scores[0, row].tolist() == [0.0, 0.0, 1.0]


def test_of_two_objects_on_one_prior_the_later_keeps_the_box_and_both_their_class() -> None:
    objects = targets([(2, 1, 1, 7, 7), (0, 2, 1, 8, 7), (1, 40, 40, 46, 46)])
    found = assigned(objects, priors_of([8], [[(6.0, 6.0)]]))
    assert positives(found) == {0: 1, 5 * 8 + 5: 2}
    assert found.scores is not None
    assert found.scores[0, 0].tolist() == [1.0, 0.0, 1.0]


def test_two_shapes_in_one_cell_do_not_meet() -> None:
    priors = priors_of([8], [[(8.0, 4.0), (4.0, 8.0)]])
    found = assigned(targets([(0, 0, 2, 8, 6), (1, 2, 0, 6, 8)]), priors)
    assert positives(found) == {0: 0, 1: 1}


@pytest.mark.parametrize(
    ("center", "cell"),
    [((8, 4), (1, 0)), ((4, 8), (0, 1)), ((16, 16), (2, 2)), ((7.99, 8), (0, 1))],
)
def test_a_centre_on_a_border_belongs_to_the_cell_right_of_it_or_below(
    center: tuple, cell: tuple
) -> None:
    x, y = center
    found = assigned(targets([(0, x - 3, y - 3, x + 3, y + 3)]), priors_of([8], [[(6.0, 6.0)]]))
    assert positives(found) == {cell[1] * 8 + cell[0]: 0}


@pytest.mark.parametrize("center", [(64, 64), (70, 64), (64, 90)])
def test_a_centre_on_the_far_border_or_beyond_belongs_to_the_last_cell(center: tuple) -> None:
    x, y = center
    found = assigned(targets([(0, x - 3, y - 3, x + 3, y + 3)]), priors_of([8], [[(6.0, 6.0)]]))
    assert positives(found) == {63: 0}


def test_a_canvas_need_not_be_square() -> None:
    priors = priors_of([8], [[(6.0, 6.0)]], height=32, width=64)
    found = assigned(targets([(0, 57, 25, 63, 31)]), priors)
    assert positives(found) == {3 * 8 + 7: 0}


@pytest.mark.parametrize("side", [0.5, 900.0])
def test_an_object_unlike_every_shape_still_has_its_prior(side: float) -> None:
    half = side / 2
    priors = priors_of(STRIDES, SMALL)
    found = assigned(targets([(0, 20 - half, 20 - half, 20 + half, 20 + half)]), priors)
    expected = prior_of([20 - half, 20 - half, 20 + half, 20 + half], SMALL, STRIDES, CANVAS)
    assert positives(found) == {expected: 0}


def test_an_object_is_trained_on_one_level_only_and_the_finest_wins_a_tie() -> None:
    """Both shapes have the same IoU with 8 x 8: 32 of 64, and 64 of 128."""
    priors = priors_of(STRIDES, [[(4.0, 8.0)], [(16.0, 8.0)]])
    assert positives(assigned(targets([(0, 0, 0, 8, 8)]), priors)) == {0: 0}


def test_predictions_above_the_threshold_are_ignored_and_positives_are_not() -> None:
    """IoU with the object: 1 for the positive prior, 1, one half (not above it), 0."""
    priors = priors_of([8], [[(6.0, 6.0)]], height=8, width=32)
    boxes = torch.tensor([[[1.0, 1, 7, 7], [1, 1, 7, 7], [1, 1, 7, 4], [20, 1, 26, 7]]])
    found = assigned(targets([(0, 1, 1, 7, 7)]), priors, boxes)
    assert found.positive.tolist() == [[True, False, False, False]]
    assert found.ignored.tolist() == [[False, True, False, False]]


def test_objects_of_other_images_do_not_ignore() -> None:
    priors = priors_of([8], [[(6.0, 6.0)]])
    boxes = priors.boxes.expand(2, -1, -1)
    found = assigned(targets([(0, 33, 33, 39, 39)], [(0, 1, 1, 7, 7)]), priors, boxes)
    assert not found.ignored.any()
    assert found.positive.nonzero().tolist() == [[0, 36], [1, 0]]


def test_all_objects_of_a_prior_are_paired_with_it_where_their_boxes_are_summed() -> None:
    """Two of one cell and shape, one elsewhere, one to be ignored."""
    objects = targets(
        [(0, 1, 1, 7, 10), (1, 0, 0, 6, 9), (2, 40, 40, 46, 49), (2, 9, 1, 15, 10, "ignore")]
    )
    priors = priors_of(STRIDES, SMALL)
    raw = predictions(priors, 1, CLASSES)
    plain = BestShape(0.5)(raw, priors.boxes, objects)
    found = BestShape(0.5, summed=True)(raw, priors.boxes, objects)
    assert plain.pairs is None
    assert all(map(torch.equal, plain[:4], found[:4]))
    assert found.pairs.weight[0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    first, second, third = found.pairs.prior[0, :3].tolist()
    assert first == second != third
    assert plain.positive[0].nonzero().flatten().tolist() == [first, third]
    assert torch.equal(found.pairs.boxes, objects.boxes)
    assert found.pairs.matched[0].tolist() == list(range(8))
