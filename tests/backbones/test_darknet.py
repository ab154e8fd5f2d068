from functools import partial

import pytest
import torch
from torch import nn

from detectors.backbones.darknet import Darknet
from detectors.structures import FeatureSpec

ACT = partial(nn.LeakyReLU, 0.1)


def test_darknet53_has_the_published_parameters() -> None:
    with torch.device("meta"):
        network = Darknet(nn.BatchNorm2d, ACT)
    # convolutions and the affine terms of batch norm; running statistics are not counted
    assert sum(p.numel() for p in network.parameters()) == 40_584_928
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == 52  # 53 with the classifier
    assert network.specs == [FeatureSpec(256, 8), FeatureSpec(512, 16), FeatureSpec(1024, 32)]


def test_stages_behind_the_last_level_are_not_built() -> None:
    network = Darknet(nn.BatchNorm2d, ACT, depths=[1, 1, 1, 1, 1], width=4, strides=[4, 8])
    assert len(network.stages) == 3
    assert [f.shape[1:] for f in network(torch.zeros(1, 3, 32, 32))] == [(16, 8, 8), (32, 4, 4)]


@pytest.mark.parametrize("strides", [[], [8, 64], [3]])
def test_unknown_stride_is_refused_with_those_offered(strides: list[int]) -> None:
    with pytest.raises(ValueError, match=r"offers \[2, 4, 8, 16, 32\]"):
        Darknet(nn.BatchNorm2d, ACT, strides=strides)
