"""Pooling along rows and columns equals maxima over slices."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from detectors.layers.corner_pool import (
    COLUMNS,
    ROWS,
    CascadeCornerPool,
    CenterPool,
    Corner,
    CornerPool,
    Joined,
    look,
)
from detectors.ops.running import running_maximum

CORNERS: tuple[Corner, ...] = ("top_left", "bottom_right")
NORM, ACT = nn.BatchNorm2d, partial(nn.ReLU)


def by_slices(x: Tensor, dim: int, corner: Corner) -> Tensor:
    """CornerNet, eqs. 6 and 7, cell by cell."""
    found = torch.empty_like(x)
    height, width = x.shape[2:]
    for i in range(height):
        for j in range(width):
            rows, columns = slice(i, i + 1), slice(j, j + 1)
            ahead = corner == "top_left"
            if dim == ROWS:
                rows = slice(i, None) if ahead else slice(0, i + 1)
            else:
                columns = slice(j, None) if ahead else slice(0, j + 1)
            found[:, :, i, j] = x[:, :, rows, columns].flatten(2).amax(2)
    return found


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("dim", [ROWS, COLUMNS])
@pytest.mark.parametrize("size", [(5, 7), (1, 4), (6, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_looks_as_far_as_slices(
    corner: Corner, dim: int, size: tuple[int, int], dtype: torch.dtype
) -> None:
    x = torch.randn(2, 3, *size).to(dtype)
    assert torch.equal(look(x, dim, corner), by_slices(x, dim, corner))
    ties = torch.randint(0, 2, (2, 3, *size)).to(dtype)
    assert torch.equal(look(ties, dim, corner), by_slices(ties, dim, corner))


@pytest.mark.parametrize("backwards", [False, True])
def test_the_gradient_goes_to_the_maximum(backwards: bool) -> None:
    """By hand: of 1, 3, 2 the running maxima are 1, 3, 3 from the left and 3, 3, 2 back."""
    x = torch.tensor([1.0, 3.0, 2.0], requires_grad=True)
    found = running_maximum(x, 0, backwards)
    (slope,) = torch.autograd.grad((found * torch.tensor([10.0, 20.0, 30.0])).sum(), x)
    assert slope.tolist() == ([0.0, 30.0, 30.0] if backwards else [10.0, 50.0, 0.0])


def fitted(joined: Joined, x: Tensor, pooled: Tensor) -> Tensor:
    return joined.last((joined.pooled(pooled) + joined.skip(x)).relu())


@pytest.mark.parametrize("corner", CORNERS)
def test_both_maps_are_added_to_the_input(corner: Corner) -> None:
    pool, x = CornerPool(4, corner, NORM, ACT, width=3).eval(), torch.randn(2, 4, 5, 6)
    pooled = by_slices(pool.rows(x), ROWS, corner) + by_slices(pool.columns(x), COLUMNS, corner)
    torch.testing.assert_close(pool(x), fitted(pool.joined, x, pooled))


@pytest.mark.parametrize("corner", CORNERS)
def test_a_cascade_pools_first_along_the_other_axis(corner: Corner) -> None:
    pool, x = CascadeCornerPool(4, corner, NORM, ACT, width=3).eval(), torch.randn(2, 4, 5, 6)
    inside = by_slices(pool.inside_rows(x), COLUMNS, corner)
    pooled = by_slices(pool.mixed_rows(pool.rows(x) + inside), ROWS, corner)
    inside = by_slices(pool.inside_columns(x), ROWS, corner)
    pooled = pooled + by_slices(pool.mixed_columns(pool.columns(x) + inside), COLUMNS, corner)
    torch.testing.assert_close(pool(x), fitted(pool.joined, x, pooled))


def test_a_centre_sees_its_whole_row_and_column() -> None:
    """As one pooling after the other, the way the release has it."""
    pool, x = CenterPool(4, NORM, ACT, width=3).eval(), torch.randn(2, 4, 5, 6)
    found = {ROWS: pool.rows(x), COLUMNS: pool.columns(x)}
    for dim, values in found.items():
        found[dim] = by_slices(by_slices(values, dim, "top_left"), dim, "bottom_right")
    torch.testing.assert_close(pool(x), fitted(pool.joined, x, found[ROWS] + found[COLUMNS]))


def test_each_is_as_wide_as_released() -> None:
    with torch.device("meta"):
        pools = {
            CornerPool(256, "top_left", NORM, ACT): 1_542_144,
            CascadeCornerPool(256, "top_left", NORM, ACT): 1_542_144 + 885_248,
            CenterPool(256, NORM, ACT): 1_542_144,
        }
    for pool, count in pools.items():
        assert sum(parameter.numel() for parameter in pool.parameters()) == count
