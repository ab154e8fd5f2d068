import pytest
import torch
from torch import nn

from detectors.backbones.csp_focus import CSPFocus, Focus
from detectors.layers.conv import ConvNormAct, SeparableConvNormAct
from detectors.layers.csp import PlainBlock
from detectors.layers.dark import DarkBlock
from detectors.structures import FeatureSpec


def test_yolox_l_has_the_parameters_of_the_release() -> None:
    with torch.device("meta"):
        network = CSPFocus(nn.BatchNorm2d, nn.SiLU)
    assert sum(p.numel() for p in network.parameters()) == 27_075_968
    assert network.specs == [FeatureSpec(256, 8), FeatureSpec(512, 16), FeatureSpec(1024, 32)]


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_focus_folds_pixel_by_pixel(size: tuple[int, int]) -> None:
    """In the order upper left, lower left, upper right, lower right; odd sides are repeated."""
    focus = Focus(3, 12, None, None)
    nn.init.dirac_(focus.conv.conv.weight)
    nn.init.zeros_(focus.conv.conv.bias)
    image = torch.randn(1, 3, *size)
    cells = focus(image)
    height, width = size
    assert cells.shape == (1, 12, -(-height // 2), -(-width // 2))
    for index, (down, right) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        for row in range(cells.shape[2]):
            for column in range(cells.shape[3]):
                y, x = min(2 * row + down, height - 1), min(2 * column + right, width - 1)
                found = cells[0, 3 * index : 3 * index + 3, row, column]
                torch.testing.assert_close(found, image[0, :, y, x])


def test_only_the_last_stage_adds_nothing_and_looks_through_a_pyramid() -> None:
    with torch.device("meta"):
        network = CSPFocus(nn.BatchNorm2d, nn.SiLU, depth=0.33, width=0.25)
    kinds = [{type(block) for block in stage[-1].blocks} for stage in network.stages]
    assert kinds == [{DarkBlock}] * 3 + [{PlainBlock}]
    assert [len(stage) for stage in network.stages] == [2, 2, 2, 3]
    assert [len(stage[-1].blocks) for stage in network.stages] == [1, 3, 3, 1]


def test_nano_separates_what_sees_more_than_a_cell() -> None:
    with torch.device("meta"):
        network = CSPFocus(nn.BatchNorm2d, nn.SiLU, depth=0.33, width=0.25, depthwise=True)
    assert isinstance(network.stem.conv, ConvNormAct)
    for stage in network.stages:
        assert isinstance(stage[0], SeparableConvNormAct)
        for block in stage[-1].blocks:
            assert isinstance(block.squeeze, ConvNormAct)
            assert isinstance(block.expand, SeparableConvNormAct)


def test_unknown_stride_is_refused_with_those_offered() -> None:
    with pytest.raises(ValueError, match=r"CSPFocus offers \[4, 8, 16, 32\]"):
        CSPFocus(nn.BatchNorm2d, nn.SiLU, strides=[2])
