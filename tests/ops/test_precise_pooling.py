"""Precise RoI pooling is the integral, and its gradient the differences, wherever boxes lie."""

import pytest
import torch
from torch import Tensor

from detectors.ops.pooling import precise_pyramid

HEIGHT, WIDTH, STRIDE, SIZE = 5, 7, 4, 2
BOXES = {
    "between cells": [5.3, 3.1, 21.7, 14.9],
    "within one cell": [9.1, 5.2, 10.9, 6.3],
    "on cells": [4.0, 4.0, 20.0, 12.0],
    "all of it and more": [-9.0, -7.0, 40.0, 33.0],
    "half outside": [-6.3, 10.1, 9.7, 30.2],
    "outside": [60.0, 50.0, 80.0, 70.0],
}


def value(feature: Tensor, x: float, y: float) -> Tensor:
    """Between cells, [C]; cells that are not there are zero (IoU-Net, eq. 4)."""
    found = torch.zeros(len(feature), dtype=feature.dtype)
    for i in range(feature.shape[1]):
        for j in range(feature.shape[2]):
            weight = max(0.0, 1 - abs(y - i)) * max(0.0, 1 - abs(x - j))
            found += weight * feature[:, i, j]
    return found


def integrated(feature: Tensor, box: list[float], points: int = 20) -> Tensor:
    """Means [C, SIZE, SIZE] over bins at many points."""
    x1, y1, x2, y2 = (side / STRIDE for side in box)
    wide, high = (x2 - x1) / SIZE, (y2 - y1) / SIZE
    found = torch.zeros(len(feature), SIZE, SIZE, dtype=feature.dtype)
    for row in range(SIZE):
        for column in range(SIZE):
            for a in range(points):
                for b in range(points):
                    x = x1 + (column + (a + 0.5) / points) * wide
                    y = y1 + (row + (b + 0.5) / points) * high
                    if -1 < x < feature.shape[2] and -1 < y < feature.shape[1]:
                        found[:, row, column] += value(feature, x, y) / points**2
    return found


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
def test_is_the_integral(box: list[float]) -> None:
    feature = torch.randn(1, 2, HEIGHT, WIDTH, dtype=torch.float64)
    boxes = torch.tensor([[box]], dtype=torch.float64)
    found = precise_pyramid([feature], boxes, [STRIDE], SIZE)
    torch.testing.assert_close(found[0, 0], integrated(feature[0], box), rtol=0, atol=1e-2)


def test_gradients_are_differences() -> None:
    """To boxes and features, of two levels."""
    torch.manual_seed(2)
    features = [
        torch.randn(2, 2, 6, 8, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True),
    ]
    small, large = [5.3, 3.1, 21.7, 14.9], [-13.1, -9.7, 151.3, 143.2]
    boxes = torch.tensor([[small, large], [large, small]], dtype=torch.float64, requires_grad=True)

    def pooled(fine: Tensor, coarse: Tensor, given: Tensor) -> Tensor:
        return precise_pyramid([fine, coarse], given, [4, 8], SIZE)

    assert torch.autograd.gradcheck(pooled, (*features, boxes), eps=1e-6, atol=1e-6)


def test_a_box_without_area_gives_nothing_and_finite_gradients() -> None:
    feature = torch.randn(1, 2, HEIGHT, WIDTH, requires_grad=True)
    empty = [[0.0, 0, 0, 0], [8.0, 4, 8, 12], [9.0, 9, 5, 5], [1e6, 1e6, 1e6, 1e6]]
    boxes = torch.tensor([empty], requires_grad=True)
    found = precise_pyramid([feature], boxes, [STRIDE], SIZE)
    assert (found == 0).all()
    found.sum().backward()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()


def test_a_level_far_from_zero_keeps_its_digits() -> None:
    """Sums over a level are large beside a bin of it."""
    feature = torch.full((1, 1, 200, 200), 100.0)
    boxes = torch.tensor([[[700.0, 700, 702, 702]]])
    found = precise_pyramid([feature], boxes, [STRIDE], SIZE)
    torch.testing.assert_close(found, torch.full_like(found, 100.0), rtol=1e-6, atol=0)
