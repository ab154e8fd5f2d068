from functools import partial

import torch
from torch import nn

from detectors.necks.topdown import TopDown
from detectors.structures import FeatureSpec

ACT = partial(nn.LeakyReLU, 0.1)


def test_yolov3_has_the_published_parameters() -> None:
    specs = [FeatureSpec(256, 8), FeatureSpec(512, 16), FeatureSpec(1024, 32)]
    with torch.device("meta"):
        neck = TopDown(specs, nn.BatchNorm2d, ACT)
    assert [spec.channels for spec in neck.specs] == [128, 256, 512]
    # the head is a 3x3 to twice the width with batch norm and a 1x1 to 255 with bias
    head = sum(18 * c * c + 4 * c + (2 * c + 1) * 255 for c, _ in neck.specs)
    assert sum(p.numel() for p in neck.parameters()) == 61_949_149 - 40_584_928 - head


def test_upsampled_channels_stand_before_the_backbones() -> None:
    specs = [FeatureSpec(4, 8), FeatureSpec(8, 16)]
    neck = TopDown(specs, nn.BatchNorm2d, ACT).eval()
    with torch.no_grad():
        neck.sets[0][0].conv.weight[:, : neck.specs[0].channels] = 0
    fine = torch.randn(1, 4, 6, 6)
    (one, _), (other, _) = (neck([fine, torch.randn(1, 8, 3, 3)]) for _ in range(2))
    assert torch.equal(one, other)
