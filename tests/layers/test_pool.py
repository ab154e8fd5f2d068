import math

import pytest
import torch
from torch import Tensor, nn

from detectors.layers.pool import DarkPool, SpatialPyramid, StackedPyramid, pyramid_set


def _darknet(x: Tensor, size: int, stride: int) -> Tensor:
    """`forward_maxpool_layer`, window by window."""
    batch, channels, height, width = x.shape
    padding = size - 1
    rows, columns = ((side + padding - size) // stride + 1 for side in (height, width))
    out = torch.full((batch, channels, rows, columns), -math.inf)
    offset = padding // 2
    for i in range(rows):
        for j in range(columns):
            for n in range(size):
                for m in range(size):
                    row, column = i * stride + n - offset, j * stride + m - offset
                    if 0 <= row < height and 0 <= column < width:
                        value = x[:, :, row, column]
                        out[:, :, i, j] = torch.maximum(out[:, :, i, j], value)
    return out


@pytest.mark.parametrize(("size", "stride"), [(2, 1), (2, 2), (3, 2), (5, 1), (13, 1)])
@pytest.mark.parametrize("side", [(6, 8), (5, 7)])
def test_windows_lie_where_darknets_do(size: int, stride: int, side: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *side)
    assert torch.equal(DarkPool(size, stride)(x), _darknet(x, size, stride))


def test_an_even_window_beyond_two_is_refused() -> None:
    with pytest.raises(ValueError, match="odd size, or 2"):
        DarkPool(4)


def test_the_largest_window_comes_first_and_the_input_last() -> None:
    x = torch.randn(1, 2, 9, 9)
    parts = SpatialPyramid()(x).chunk(4, dim=1)
    for part, size in zip(parts, (13, 9, 5, 1), strict=True):
        assert torch.equal(part, DarkPool(size)(x))


def test_the_set_of_yolov4_has_the_published_parameters() -> None:
    with torch.device("meta"):
        block = pyramid_set(1024, 512, nn.BatchNorm2d, nn.ReLU)
    assert sum(p.numel() for p in block.parameters()) == 12_066_816  # layers 105 to 116


@pytest.mark.parametrize("side", [(20, 17), (3, 5)])
def test_windows_one_after_another_see_what_larger_ones_see(side: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *side)
    assert torch.equal(StackedPyramid()(x), SpatialPyramid()(x))
