"""Fire modules by their formula, and hourglasses of them on maps of any size."""

from functools import partial

import pytest
import torch
from torch import nn

from detectors.backbones.fire_hourglass import Fire, FireHourglass

NORM, ACT = nn.BatchNorm2d, partial(nn.ReLU)


@pytest.mark.parametrize(("before", "after", "stride"), [(6, 6, 1), (6, 8, 1), (6, 6, 2)])
def test_a_fire_module_is_its_formula(before: int, after: int, stride: int) -> None:
    fire, x = Fire(before, after, stride, NORM, ACT).eval(), torch.randn(2, before, 5, 7)
    small = fire.squeeze(x)
    assert (small < 0).any()  # nothing cuts it
    single = torch.einsum("oc,bchw->bohw", fire.single.weight[..., 0, 0], small)
    near = nn.functional.unfold(small, 3, padding=1).view(2, after // 2, 9, 5, 7)
    deep = (near * fire.depthwise.weight.view(1, after // 2, 9, 1, 1)).sum(2)
    made = fire.norm(torch.cat([single, deep], dim=1)[..., ::stride, ::stride])
    expected = made + x if (before, stride) == (after, 1) else made
    torch.testing.assert_close(fire(x), expected.relu(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(64, 96), (72, 40)])
def test_each_stack_gives_a_level_of_stride_eight(size: tuple[int, int]) -> None:
    network = FireHourglass(NORM, ACT, stem=4, widths=(8, 8, 8), depths=(1, 1, 1)).eval()
    levels = network(torch.randn(1, 3, *size))
    assert [level.shape for level in levels] == [(1, 8, size[0] // 8, size[1] // 8)] * 2
    assert network.specs == [(8, 8)] * 2
