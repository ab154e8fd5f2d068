"""YOLOv4's targets and loss, against darknet's rules written as loops."""

import math
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.assigners.shape_threshold import ShapeThreshold
from detectors.coders import Yolo
from detectors.heads.criterion import Criterion
from detectors.losses.box import IoULoss
from detectors.losses.classification import BinaryCrossEntropy
from detectors.losses.darknet_box import DarknetCIoU
from detectors.losses.quality import Objectness
from detectors.losses.reduction import per_image
from detectors.ops.selection import gather_rows
from detectors.priors import BoxGrid
from detectors.structures import Assignment, FeatureSpec, Predictions, Targets

CLASSES = 3
SIDE = 64
IOU_NORMALIZER = 0.07
IGNORE_THRESH = 0.7


class Cfg(NamedTuple):
    """What the [yolo] sections of a cfg file say."""

    strides: tuple[int, ...]
    anchors: tuple[tuple[float, float], ...]
    masks: tuple[tuple[int, ...], ...]
    scale_x_y: tuple[float, ...]
    iou_thresh: float


NINE = ((4, 6), (7, 12), (13, 9), (12, 20), (24, 18), (22, 40), (46, 36), (40, 60), (60, 62))
YOLOV4 = Cfg((8, 16, 32), NINE, ((0, 1, 2), (3, 4, 5), (6, 7, 8)), (1.2, 1.1, 1.05), 0.213)
TINY = Cfg((16, 32), NINE[:6], ((1, 2, 3), (3, 4, 5)), (1.05, 1.05), 1.0)


def _criterion(cfg: Cfg) -> tuple[nn.Module, Criterion]:
    used = {n for mask in cfg.masks for n in mask}
    assigner = ShapeThreshold(
        threshold=cfg.iou_thresh,
        ignore=IGNORE_THRESH,
        gate=0.25,
        unused=[shape for n, shape in enumerate(cfg.anchors) if n not in used],
    )
    losses = {
        "class": BinaryCrossEntropy(background=False),
        "box": IoULoss("ciou", weight=IOU_NORMALIZER),
        "quality": Objectness(),
    }
    return assigner, Criterion(CLASSES, Yolo(list(cfg.scale_x_y)), losses, per_image)


def _predictions(cfg: Cfg, raw: Tensor) -> Predictions:
    """`raw` [B, N, 5 + C] in darknet's order of planes."""
    specs = [FeatureSpec(1, stride) for stride in cfg.strides]
    features = [torch.zeros(1, 1, SIDE // s, SIDE // s) for s in cfg.strides]
    shapes = [[cfg.anchors[n] for n in mask] for mask in cfg.masks]
    priors = BoxGrid(shapes)(features, specs)
    return Predictions(raw[..., 5:], raw[..., :4], raw[..., 4], priors)


def _ours(cfg: Cfg, raw: Tensor, targets: Targets) -> dict[str, Tensor]:
    assigner, criterion = _criterion(cfg)
    predictions = _predictions(cfg, raw)
    boxes = criterion.coder.decode(predictions.deltas, predictions.priors)
    return criterion(predictions, boxes, targets, assigner(predictions, boxes.detach(), targets))


def _iou(a: list[float], b: list[float]) -> float:
    """Of centre boxes."""
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


def _ciou(pred: list[Tensor], truth: list[float]) -> Tensor:
    """1 - IoU + d^2 / c^2 + alpha v of the paper, less the 1; alpha takes no gradient."""
    (x, y, w, h), (tx, ty, tw, th) = pred, [torch.tensor(t, dtype=torch.float64) for t in truth]
    left, right = torch.maximum(x - w / 2, tx - tw / 2), torch.minimum(x + w / 2, tx + tw / 2)
    top, bottom = torch.maximum(y - h / 2, ty - th / 2), torch.minimum(y + h / 2, ty + th / 2)
    inner = (right - left).clamp(min=0) * (bottom - top).clamp(min=0)
    iou = inner / (w * h + tw * th - inner)
    hull_w = torch.maximum(x + w / 2, tx + tw / 2) - torch.minimum(x - w / 2, tx - tw / 2)
    hull_h = torch.maximum(y + h / 2, ty + th / 2) - torch.minimum(y - h / 2, ty - th / 2)
    distance = ((x - tx) ** 2 + (y - ty) ** 2) / (hull_w**2 + hull_h**2)
    v = 4 / math.pi**2 * (torch.atan(tw / th) - torch.atan(w / h)) ** 2
    alpha = (v / (1 - iou + v)).detach() if v > 0 else 0.0
    return iou - distance - alpha * v


def _bce(logit: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logit, torch.tensor(target, dtype=torch.float64))


def _darknet(
    cfg: Cfg, raw: Tensor, objects: list[list[tuple[list[float], int]]]
) -> dict[str, Tensor]:
    """`src/yolo_layer.c`, one prediction and one object after the other, in float64.

    `objects` has, for each image, centre boxes in pixels and classes.
    """
    loss = {name: torch.zeros((), dtype=torch.float64) for name in ("class", "box", "quality")}
    for image, truths in enumerate(objects):
        row = 0
        for level, stride in enumerate(cfg.strides):
            cells = SIDE // stride
            delta_of: dict[tuple[int, int, int], list[int]] = {}
            for t, (truth, _) in enumerate(truths):
                i, j = int(truth[0] / stride), int(truth[1] / stride)
                shapes = [_iou([0, 0, *truth[2:]], [0, 0, *anchor]) for anchor in cfg.anchors]
                best_n = shapes.index(max(shapes))
                for mask_n, n in enumerate(cfg.masks[level]):
                    also = cfg.iou_thresh < 1 and shapes[n] > cfg.iou_thresh
                    if n == best_n or also:
                        delta_of.setdefault((j, i, mask_n), []).append(t)
            for j in range(cells):
                for i in range(cells):
                    for mask_n, n in enumerate(cfg.masks[level]):
                        _one_prediction(
                            raw[image, row].double(),
                            (i, j, stride, cfg.scale_x_y[level], cfg.anchors[n]),
                            truths,
                            delta_of.get((j, i, mask_n), []),
                            cfg.iou_thresh < 1,
                            loss,
                        )
                        row += 1
        assert row == raw.shape[1]
    return {name: term / len(objects) for name, term in loss.items()}


def _one_prediction(x, place, truths, mine, averaged, loss) -> None:
    i, j, stride, s, (anchor_w, anchor_h) = place
    pred = [
        (i + s * x[0].sigmoid() - (s - 1) / 2) * stride,
        (j + s * x[1].sigmoid() - (s - 1) / 2) * stride,
        anchor_w * x[2].exp(),
        anchor_h * x[3].exp(),
    ]
    if not mine:
        numbers = [p.item() for p in pred]
        best = max((_iou(numbers, truth) for truth, _ in truths), default=0.0)
        sure = any(c.sigmoid().item() > 0.25 for c in x[5:])
        if not (best > IGNORE_THRESH and sure):
            loss["quality"] = loss["quality"] + _bce(x[4], 0.0)
        return
    loss["quality"] = loss["quality"] + _bce(x[4], 1.0)
    labels = {truths[t][1] for t in mine}
    for c in range(CLASSES):
        loss["class"] = loss["class"] + _bce(x[5 + c], float(c in labels))
    share = len(labels) if averaged else 1  # positive classes, by which the sum is divided
    for t in mine:
        term = IOU_NORMALIZER * (1 - _ciou(pred, truths[t][0])) / share
        loss["box"] = loss["box"] + term


def _targets(objects: list[list[tuple[list[float], int]]], rows: int) -> Targets:
    boxes = torch.zeros(len(objects), rows, 4)
    labels = torch.zeros(len(objects), rows, dtype=torch.int64)
    for b, image in enumerate(objects):
        for m, ((x, y, w, h), label) in enumerate(image):
            boxes[b, m] = torch.tensor([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            labels[b, m] = label
    valid = torch.tensor([[m < len(image) for m in range(rows)] for image in objects])
    return Targets(boxes, labels, valid, torch.zeros_like(valid))


OBJECTS = [
    [  # two classes in one cell, two of one class in one cell, a border, a corner of the canvas
        ([20.0, 20.0, 24.0, 18.0], 0),
        ([21.0, 19.0, 22.0, 20.0], 1),
        ([44.0, 12.0, 13.0, 9.0], 2),
        ([45.0, 13.0, 12.0, 10.0], 2),
        ([32.0, 48.0, 8.0, 8.0], 1),
        ([62.0, 62.0, 4.0, 4.0], 0),
    ],
    [],  # none
    [  # unlike every shape, as large as the canvas, smaller than every shape
        ([40.0, 30.0, 60.0, 3.0], 2),
        ([32.5, 32.5, 62.0, 62.0], 1),
        ([10.0, 50.0, 1.0, 1.5], 0),
        ([20.0, 36.0, 10.0, 12.0], 0),
    ],
]


def _raw(cfg: Cfg, seed: int) -> Tensor:
    """Random predictions; beside an object some neighbours match it, with and without a class."""
    torch.manual_seed(seed)
    count = sum((SIDE // s) ** 2 * len(m) for s, m in zip(cfg.strides, cfg.masks, strict=True))
    raw = torch.randn(len(OBJECTS), count, 5 + CLASSES)
    boxes = _predictions(cfg, raw).priors.boxes[0]
    for image, truths in enumerate(OBJECTS):
        for (x, y, w, h), _ in truths:
            center, side = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
            near = ((center - torch.tensor([x, y])).abs() < cfg.strides[0] * 1.2).all(-1)
            # not quite as large, for at equal sides the gradient has a kink
            raw[image, near, 2] = (0.97 * w / side[near, 0]).log()
            raw[image, near, 3] = (0.98 * h / side[near, 1]).log()
            raw[image, near, :2] = 4 * (torch.tensor([x, y]) - center[near]).sign()
    raw[..., 5:] -= 1.5  # a score of .25 is a logit of -1.1
    return raw.requires_grad_()


@pytest.mark.parametrize("cfg", [YOLOV4, TINY], ids=["yolov4", "yolov4-tiny"])
@pytest.mark.parametrize("seed", range(2))
def test_loss_and_gradient_are_darknets_rules(cfg: Cfg, seed: int) -> None:
    raw = _raw(cfg, seed)
    ours, naive = _ours(cfg, raw, _targets(OBJECTS, 8)), _darknet(cfg, raw, OBJECTS)
    for name, expected in naive.items():
        torch.testing.assert_close(ours[name].double(), expected, rtol=1e-5, atol=0)
        (found,) = torch.autograd.grad(ours[name], raw, retain_graph=True)
        (wanted,) = torch.autograd.grad(expected, raw, retain_graph=True)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())


def _assigned(cfg: Cfg, raw: Tensor, targets: Targets):
    assigner, criterion = _criterion(cfg)
    predictions = _predictions(cfg, raw)
    boxes = criterion.coder.decode(predictions.deltas, predictions.priors)
    return assigner(predictions, boxes, targets)


def test_the_examples_meet_every_rule() -> None:
    raw = _raw(YOLOV4, 0)
    objects = _targets(OBJECTS, 8)
    found = _assigned(YOLOV4, raw, objects)
    assert torch.equal(found.pairs.boxes, gather_rows(objects.boxes, found.pairs.matched))
    assert found.ignored.any(1).tolist() == [True, False, True]
    assert found.positive.sum(1)[0] > len(OBJECTS[0])  # several priors per object
    weights = found.pairs.weight[found.pairs.weight > 0]
    assert weights.unique().tolist() == [0.5, 1.0]  # two classes share some priors
    certain = _assigned(YOLOV4, raw + 10 * (torch.arange(8) > 4), _targets(OBJECTS, 8))
    assert (certain.ignored & ~found.ignored).any()  # the gate of class scores


def test_a_prediction_sure_of_no_class_is_not_ignored() -> None:
    raw = torch.zeros(1, 252, 5 + CLASSES)
    raw[..., 0], raw[..., 5:] = 4.0, -9.0
    # The shape of a prior of stride 16, its centre just right of a cell whose prior reaches there.
    objects = [[([17.0, 24.0, 12.0, 20.0], 0)]]
    targets = _targets(objects, 1)
    unsure = _assigned(YOLOV4, raw, targets)
    raw[..., 5] = 0.0
    sure = _assigned(YOLOV4, raw, targets)
    assert not unsure.ignored.any()
    assert sure.ignored.any()
    assert torch.equal(sure.positive, unsure.positive)


def test_order_and_padding_of_objects_change_nothing() -> None:
    raw = _raw(YOLOV4, 3)
    plain = _ours(YOLOV4, raw, _targets(OBJECTS, 6))
    turned = _ours(YOLOV4, raw, _targets([image[::-1] for image in OBJECTS], 11))
    for name, value in plain.items():
        torch.testing.assert_close(turned[name], value, rtol=1e-6, atol=0)


def test_an_object_to_be_ignored_trains_nothing() -> None:
    raw, targets = _raw(YOLOV4, 0), _targets(OBJECTS, 8)
    without = _assigned(YOLOV4, raw, targets._replace(valid=torch.zeros_like(targets.valid)))
    ignored = _assigned(YOLOV4, raw, targets._replace(ignore=targets.valid))
    assert not ignored.positive.any()
    assert not ignored.pairs.weight.any()
    assert torch.equal(ignored.ignored, without.ignored)


def test_is_one_graph() -> None:
    raw, targets = _raw(YOLOV4, 0), _targets(OBJECTS, 8)
    torch._dynamo.reset()
    compiled = torch.compile(_ours, fullgraph=True, backend="eager")
    for name, value in _ours(YOLOV4, raw, targets).items():
        assert torch.equal(compiled(YOLOV4, raw, targets)[name], value)


def test_a_shape_that_no_level_has_takes_the_object() -> None:
    raw = torch.zeros(1, 60, 5 + CLASSES)
    objects = [[([20.0, 20.0, 4.0, 6.0], 0), ([50.0, 50.0, 12.0, 20.0], 0)]]
    found = _assigned(TINY, raw, _targets(objects, 2))
    # The first has the unused shape; the second has one that stands on both levels.
    assert found.positive.sum() == 2
    assert found.matched[found.positive].tolist() == [1, 1]


def test_no_prior_is_positive_without_being_drawn_to_a_box() -> None:
    """Where more priors are alike than an object may train, the most similar ones are taken."""
    cfg, truth = YOLOV4._replace(iou_thresh=0.05), ([20.0, 20.0, 22.0, 20.0], 0)
    predictions, objects = _predictions(cfg, torch.zeros(1, 252, 8)), _targets([[truth]], 1)

    def assigned(most: int) -> Assignment:
        assigner = ShapeThreshold(cfg.iou_thresh, IGNORE_THRESH, 0.25, most=most)
        return assigner(predictions, predictions.priors.boxes, objects)

    everything, few = assigned(9), assigned(3)
    assert everything.positive.sum() > 3
    side = (predictions.priors.boxes[..., 2:] - predictions.priors.boxes[..., :2])[0]
    alike = {n: _iou([0, 0, *truth[0][2:]], [0, 0, *side[n].tolist()]) for n in range(252)}
    candidates = everything.positive[0].nonzero().flatten().tolist()
    best = sorted(candidates, key=alike.__getitem__)[-3:]
    assert few.positive[0].nonzero().flatten().tolist() == sorted(best)
    assert sorted(few.pairs.prior[0].tolist()) == sorted(best)
    assert few.scores.sum() == few.pairs.weight.sum() == 3


TINY_ANCHORS = ((23, 27), (37, 58), (81, 82))  # of stride 16; the first shape is not used there


def _tiny_descent(prior: int, raw: list[float], *objects: tuple[int, list[float]]) -> list[float]:
    """What YOLOv4-tiny adds to one prior's four numbers, at 416 pixels, cell (13, 13).

    `objects` are classes and centre boxes relative to the canvas; all other numbers are 0, class
    logits -4.
    """
    features = [torch.zeros(1, 1, 26, 26)]
    priors = BoxGrid([list(TINY_ANCHORS)])(features, [FeatureSpec(1, 16)])
    row = (13 * 26 + 13) * 3 + prior
    count = priors.boxes.shape[1]
    deltas = torch.zeros(1, count, 4)
    deltas[0, row] = torch.tensor(raw)
    deltas.requires_grad_()
    logits = torch.full((1, count, 80), -4.0)
    predictions = Predictions(logits, deltas, torch.zeros(1, count), priors)
    center = 416 * torch.tensor([box for _, box in objects])
    found = Targets(
        boxes=torch.cat([center[:, :2] - center[:, 2:] / 2, center[:, :2] + center[:, 2:] / 2], -1)[
            None
        ],
        labels=torch.tensor([[label for label, _ in objects]]),
        valid=torch.ones(1, len(objects), dtype=torch.bool),
        ignore=torch.zeros(1, len(objects), dtype=torch.bool),
    )
    assigner = ShapeThreshold(1.0, ignore=0.7, gate=0.25, unused=[(10, 14)], most=3)
    criterion = Criterion(80, Yolo(1.05), {"box": DarknetCIoU(0.07)}, per_image)
    boxes = criterion.coder.decode(deltas, priors)
    assignment = assigner(predictions, boxes.detach(), found)
    assert assignment.positive[0].nonzero().flatten().tolist() == [row]
    loss = criterion(predictions, boxes, found, assignment)["box"]
    (gradient,) = torch.autograd.grad(loss, deltas)
    return (-gradient[0, row]).tolist()


def test_tiny_draws_a_prior_in_full_to_each_of_two_classes() -> None:
    """Numbers of darknet's C code; with `iou_thresh` below 1 they would be half as large."""
    both = (3, [0.51, 0.51, 0.2, 0.3]), (7, [0.515, 0.505, 0.21, 0.28])
    found = _tiny_descent(2, [0.0] * 4, *both)
    assert found == pytest.approx([-0.37612, -0.02600, 0.55828, 0.88427], abs=2e-5)


def test_tiny_cuts_no_number_of_the_gradient() -> None:
    """darknet's C code on an object of 4 x 100 pixels; YOLOv4 would stop at 5."""
    found = _tiny_descent(
        0, [-0.7039, -0.9874, -1.7492, 1.3093], (0, [0.51, 0.51, 4 / 416, 100 / 416])
    )
    assert found[0] == pytest.approx(-9.324, abs=2e-3)
