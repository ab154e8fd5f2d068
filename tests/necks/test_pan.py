from functools import partial

import pytest
import torch
from torch import nn

from detectors.layers.dark import five_set
from detectors.layers.pool import pyramid_set
from detectors.necks.pan import PAN
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(256, 8), FeatureSpec(512, 16), FeatureSpec(1024, 32)]
ACT = partial(nn.LeakyReLU, 0.1)


def _parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def test_yolov4_has_the_published_parameters() -> None:
    with torch.device("meta"):
        neck = PAN(SPECS, nn.BatchNorm2d, ACT, pyramid_set)
    assert [spec.channels for spec in neck.specs] == [128, 256, 512]
    assert _parameters(neck.enter) == 12_066_816  # cfg/yolov4.cfg, layers 105 to 116
    assert _parameters(neck.squeezes, neck.laterals, neck.top_down) == 3_775_232  # 117 to 136
    # the head is a 3x3 to twice the width with batch norm and a 1x1 to 255 with bias
    head = sum(18 * c * c + 4 * c + (2 * c + 1) * 255 for c, _ in neck.specs)
    assert _parameters(neck.reductions, neck.bottom_up) == 21_903_869 - head  # 137 to 161


def test_the_side_stands_first_on_the_way_down_and_the_finer_level_on_the_way_up() -> None:
    specs = [FeatureSpec(4, 8), FeatureSpec(8, 16)]
    neck = PAN(specs, nn.BatchNorm2d, ACT, five_set).eval()
    fine, coarse = torch.randn(1, 4, 6, 6), torch.randn(1, 8, 3, 3)
    with torch.no_grad():
        neck.top_down[0][0].conv.weight[:, :2] = 0  # deaf to what comes from the side
        neck.bottom_up[0][0].conv.weight[:, 4:] = 0  # deaf to what comes from above
    before = neck([fine, coarse])
    assert torch.equal(neck([torch.randn(1, 4, 6, 6), coarse])[0], before[0])
    assert not torch.equal(neck([fine, torch.randn(1, 8, 3, 3)])[0], before[0])
    with torch.no_grad():
        neck.squeezes[0].conv.weight.zero_()
    assert torch.equal(neck([fine, coarse])[1], neck([fine, torch.randn(1, 8, 3, 3)])[1])


def test_one_width_serves_all_levels() -> None:
    neck = PAN([FeatureSpec(4, 8), FeatureSpec(8, 16)], None, ACT, five_set, channels=6)
    outputs = neck([torch.zeros(1, 4, 5, 7), torch.zeros(1, 8, 3, 4)])
    assert [output.shape for output in outputs] == [(1, 6, 5, 7), (1, 6, 3, 4)]


def test_levels_of_one_size_are_refused_and_one_alone_is_not() -> None:
    with pytest.raises(ValueError, match=r"PAN fuses .* given strides \[4, 4\]"):
        PAN([FeatureSpec(8, 4), FeatureSpec(8, 4)], None, None, pyramid_set)
    assert PAN(SPECS[:1], None, None, pyramid_set).specs == [FeatureSpec(128, 8)]
