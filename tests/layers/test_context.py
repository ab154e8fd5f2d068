import torch
from torch import nn

from detectors.layers.context import ASPP, RFB, spp


def _reach(block: nn.Module, side: int = 49) -> int:
    """Cells from the middle to the farthest one that its value depends on, along a row."""
    x = torch.randn(1, 16, side, side, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(x)[0, :, side // 2, side // 2].sum(), x)
    seen = gradient[0].abs().sum((0, 1)).nonzero().flatten()
    return int(seen.max()) - side // 2


def test_spatial_pyramid_keeps_the_shape_and_has_yolov4s_widths() -> None:
    block = spp(16, nn.BatchNorm2d, nn.ReLU)
    assert [m.weight.shape[:2] for m in block.modules() if isinstance(m, nn.Conv2d)] == [
        (8, 16),
        (16, 32),
    ]
    assert block(torch.randn(2, 16, 5, 7)).shape == (2, 16, 5, 7)


def test_receptive_field_block_sees_as_far_as_its_widest_branch() -> None:
    """Two 3x3 and one of dilation 5: 1 + 1 + 5 cells; RFBNet, fig. 4a."""
    assert _reach(RFB(16, None, nn.SiLU)) == 7


def test_receptive_field_block_adds_a_tenth_to_its_input() -> None:
    block, x = RFB(16, None, nn.Identity), torch.randn(1, 16, 6, 6)
    mixed = block.merge(torch.cat([branch(x) for branch in block.branches], dim=1))
    torch.testing.assert_close(block(x), x + 0.1 * mixed)


def test_dilations_of_aspp_are_its_rates_and_the_image_is_seen_everywhere() -> None:
    block = ASPP(16, None, nn.SiLU, rates=(2, 4), width=8)
    assert [hole.conv.dilation for hole in block.holes] == [(2, 2), (4, 4)]
    assert _reach(block, 21) == 10  # the whole map
    assert block(torch.randn(1, 16, 1, 1)).shape == (1, 16, 1, 1)
