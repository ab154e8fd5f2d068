"""Darknet's gradient of CIoU equals its C code written as a function of numbers."""

import math

import pytest
import torch
from torch import Tensor

from detectors.coders import Yolo
from detectors.losses.box import IoULoss
from detectors.losses.darknet_box import DarknetCIoU
from detectors.structures import Matched, Pairs, Predictions, Priors
from tests.losses.loss_examples import value

CANVAS = (96, 128)  # height, width


def _dx_box_iou(pred: list[float], truth: list[float]) -> list[float]:
    """`src/box.c`, dx_box_iou with CIOU, centre boxes relative to the canvas."""
    px, py, pw, ph = pred
    tx, ty, tw, th = truth
    pl, pr, pt, pb = px - pw / 2, px + pw / 2, py - ph / 2, py + ph / 2
    tl, tr, tt, tb = tx - tw / 2, tx + tw / 2, ty - th / 2, ty + th / 2
    ih, iw = min(pb, tb) - max(pt, tt), min(pr, tr) - max(pl, tl)
    i = iw * ih
    u = pw * ph + tw * th - i
    s = (px - tx) ** 2 + (py - ty) ** 2
    di = {
        "t": -iw if pt > tt else 0.0,
        "b": iw if pb < tb else 0.0,
        "l": -ih if pl > tl else 0.0,
        "r": ih if pr < tr else 0.0,
    }
    dx = {"t": -pw, "b": pw, "l": -ph, "r": ph}
    p = {k: (u * di[k] - i * (dx[k] - di[k])) / u**2 for k in di}
    grad = [p["l"] + p["r"], p["t"] + p["b"], p["r"] - p["l"], p["b"] - p["t"]]
    if iw <= 0 or ih <= 0:
        grad = [0.0] * 4
    cw, ch = max(pr, tr) - min(pl, tl), max(pb, tb) - min(pt, tt)
    c = cw**2 + ch**2
    grad[0] += (2 * (tx - px) * c - 2 * cw * ((pr > tr) - (pl < tl)) * s) / c**2
    grad[1] += (2 * (ty - py) * c - 2 * ch * ((pb > tb) - (pt < tt)) * s) / c**2
    turn = math.atan(tw / th) - math.atan(pw / ph)
    v = 4 / math.pi**2 * turn**2
    alpha = v / (1 - i / u + v + 0.000001)
    wide, high = 0.5 * ((pr > tr) + (pl < tl)), 0.5 * ((pb > tb) + (pt < tt))
    grad[2] += 2 * cw * wide * s / c**2 + alpha * 8 / math.pi**2 * turn * ph
    grad[3] += 2 * ch * high * s / c**2 - alpha * 8 / math.pi**2 * turn * pw
    return grad


def _center(box: list[float]) -> list[float]:
    height, width = CANVAS
    x1, y1, x2, y2 = box
    return [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]


def _matched(deltas: Tensor, pairs: Pairs) -> Matched:
    """Four priors of one level; fields that box losses do not look at are empty."""
    corner = torch.tensor([[16.0, 16], [48, 16], [80, 48], [112, 80]])
    side = torch.tensor([[20.0, 30], [60, 40], [10, 12], [90, 70]])
    boxes = torch.cat([corner - side / 2, corner + side / 2], dim=-1)[None]
    priors = Priors(boxes, torch.full((4,), 32.0), (4,), CANVAS)
    decoded = Yolo(1.1).decode(deltas, priors)
    empty = torch.zeros(len(deltas), 4)
    return Matched(
        Predictions(empty, deltas, empty, priors),
        decoded, decoded, deltas, empty, empty, empty, empty,
        pairs=pairs,
    )  # fmt: skip


def _example(seed: int) -> tuple[Tensor, Pairs]:
    torch.manual_seed(seed)
    deltas = torch.randn(2, 4, 4, requires_grad=True)
    prior = torch.tensor([[0, 1, 2, 3, 1, 0], [3, 3, 2, 1, 0, 0]])
    corner = torch.rand(2, 6, 2) * 60
    objects = torch.cat([corner, corner + 3 + 50 * torch.rand(2, 6, 2)], dim=-1)
    weight = torch.tensor([[1.0, 0.5, 1, 1, 0.5, 0], [1, 1, 0.5, 0, 1, 1]])
    return deltas, Pairs(prior, torch.arange(6).expand(2, 6), objects, weight)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limit", [5.0, 0.1])
def test_gradient_is_darknets(seed: int, limit: float) -> None:
    deltas, pairs = _example(seed)
    matched = _matched(deltas, pairs)
    (found,) = torch.autograd.grad(value(DarknetCIoU(0.07, limit), matched), deltas)
    expected = torch.zeros_like(found)
    for b in range(2):
        for prior, _, truth, weight in zip(
            *(field[b].tolist() for field in pairs[:4]), strict=True
        ):
            pred = _center(matched.boxes[b, prior].tolist())
            slope = _dx_box_iou(pred, _center(truth))
            for k in range(4):
                growth = math.exp(deltas[b, prior, k].item()) if k > 1 else 1.0
                delta = min(max(0.07 * slope[k] * growth, -limit), limit)
                expected[b, prior, k] -= delta * weight
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_value_is_that_of_ciou() -> None:
    matched = _matched(*_example(0))
    expected = value(IoULoss("ciou", weight=0.07), matched)
    torch.testing.assert_close(value(DarknetCIoU(0.07, 5.0), matched), expected)


def test_a_gradient_step_brings_boxes_closer() -> None:
    deltas, pairs = _example(1)
    loss = DarknetCIoU(0.07, 5.0)
    before = value(loss, _matched(deltas, pairs))
    (slope,) = torch.autograd.grad(before, deltas)
    assert value(loss, _matched(deltas - 0.05 * slope, pairs)) < before


def test_empty_rows_leave_no_gradient() -> None:
    deltas, pairs = _example(2)
    empty = pairs._replace(boxes=0 * pairs.boxes, weight=0 * pairs.weight)
    (slope,) = torch.autograd.grad(value(DarknetCIoU(0.07, 5.0), _matched(deltas, empty)), deltas)
    assert not slope.any()
