"""RoI pooling equals torchvision's, wherever the boxes lie."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from detectors.ops.pooling import pyramid_levels, roi_align_pyramid
from tests.examples import random_boxes

STRIDES = [4, 8, 16, 32]
CANVAS = (96, 160)  # height, width
BOXES = {
    "whole canvas and all of two pixels": torch.tensor([[0.0, 0, 160, 96], [10.0, 10, 12, 12]]),
    "along the borders": torch.tensor(
        [[0.0, 0, 9, 96], [151.0, 0, 160, 96], [0.0, 87, 160, 96], [140.0, 80, 160, 96]]
    ),
    "half outside": torch.tensor([[-30.0, -20, 20, 30], [130.0, 70, 200, 130]]),
    "all outside": torch.tensor([[-90.0, -90, -50, -40], [300.0, 300, 350, 360]]),
    "one cell outside": torch.tensor([[-4.0, -4, -3, -3], [160.0, 96, 163, 99]]),
    "empty": torch.tensor([[0.0, 0, 0, 0], [50.0, 50, 50, 50], [50.0, 20, 50, 90]]),
    "huge": torch.tensor([[-5000.0, -5000, 5000, 5000], [0.0, 0, 4000, 30]]),
    "on the border between two levels": torch.tensor(
        [[0.0, 0, 112, 112], [0.0, 0, 224, 56], [0.0, 0, 224, 224], [0.0, 0, 448, 448]]
    ),
}


def pyramid() -> list[Tensor]:
    return [
        torch.randn(2, 5, CANVAS[0] // stride, CANVAS[1] // stride, requires_grad=True)
        for stride in STRIDES
    ]


def torchvisions(features: list[Tensor], boxes: Tensor, size: int, sampling: int) -> Tensor:
    pooler = MultiScaleRoIAlign(["0", "1", "2", "3"], size, sampling)
    named = {str(level): feature for level, feature in enumerate(features)}
    return pooler(named, list(boxes), [CANVAS] * len(boxes)).unflatten(0, boxes.shape[:2])


@pytest.mark.parametrize("boxes", BOXES.values(), ids=BOXES.keys())
def test_values_and_gradients_are_torchvisions(boxes: Tensor) -> None:
    boxes = torch.cat([boxes.expand(2, *boxes.shape), random_boxes(2, 9, canvas=150.0)], dim=1)
    features = pyramid()
    ours = roi_align_pyramid(features, boxes, STRIDES)
    theirs = torchvisions(features, boxes, 7, 2)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    weights = torch.randn_like(theirs)
    expected = torch.autograd.grad((theirs * weights).sum(), features, materialize_grads=True)
    found = torch.autograd.grad((ours * weights).sum(), features, materialize_grads=True)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_other_bins_and_sampling_points() -> None:
    features, boxes = pyramid(), random_boxes(2, 9, canvas=150.0)
    ours = roi_align_pyramid(features, boxes, STRIDES, size=3, sampling=4)
    torch.testing.assert_close(ours, torchvisions(features, boxes, 3, 4), atol=1e-5, rtol=1e-4)


def test_levels_by_hand() -> None:
    """224 px belong to stride 16, half of it to stride 8 (FPN, eq. 1); the ends take the rest."""
    sides = torch.tensor([0.0, 50, 111, 112, 223, 224, 447, 448, 5000])
    boxes = torch.stack([sides * 0, sides * 0, sides, sides], dim=-1)
    assert pyramid_levels(boxes, STRIDES).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
