from itertools import pairwise

import pytest
import torch
from torch import nn

from detectors.backbones.csp_darknet import CSPDarknet
from detectors.structures import FeatureSpec


def test_csp_darknet53_has_the_published_parameters() -> None:
    with torch.device("meta"):
        network = CSPDarknet(nn.BatchNorm2d, nn.Mish)
    assert sum(p.numel() for p in network.parameters()) == 26_617_184
    assert 26_617_184 + 1024 * 1000 + 1000 == 27_642_184  # with the classifier of 1000
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == 72
    assert network.specs == [FeatureSpec(256, 8), FeatureSpec(512, 16), FeatureSpec(1024, 32)]


def test_stages_split_as_in_the_cfg() -> None:
    with torch.device("meta"):
        network = CSPDarknet(nn.BatchNorm2d, nn.Mish)
    splits = [
        (stage.enter.conv.out_channels, stage.blocks[0].squeeze.conv.out_channels)
        for stage in network.stages
    ]
    assert splits == [(64, 32), (64, 64), (128, 128), (256, 256), (512, 512)]


def test_the_processed_branch_stands_first() -> None:
    stage = CSPDarknet(nn.BatchNorm2d, nn.Mish, depths=[1, 1], width=4, strides=[4]).stages[1]
    with torch.no_grad():
        stage.merge.conv.weight[:, :8] = 0
    x = torch.randn(2, 8, 6, 6)
    before = stage.eval()(x)
    nn.init.ones_(stage.leave.conv.weight)
    assert torch.equal(stage(x), before)


def test_convolutions_are_registered_in_the_order_of_the_cfg() -> None:
    network = CSPDarknet(nn.BatchNorm2d, nn.Mish, depths=[1], width=4, strides=[2])
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    shapes = [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in convs]
    assert shapes == [
        (3, 4, 3, 1),
        (4, 8, 3, 2),
        (8, 8, 1, 1),
        (8, 8, 1, 1),
        (8, 4, 1, 1),
        (4, 8, 3, 1),
        (8, 8, 1, 1),
        (16, 8, 1, 1),
    ]
    assert all(a is not b for a, b in pairwise(convs))


def test_unknown_stride_is_refused_with_those_offered() -> None:
    with pytest.raises(ValueError, match=r"CSPDarknet offers \[2, 4, 8, 16, 32\]"):
        CSPDarknet(nn.BatchNorm2d, nn.Mish, strides=[64])
