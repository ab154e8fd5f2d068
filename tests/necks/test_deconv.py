import pytest
import torch
from torch import nn

from detectors.necks.deconv import Deconv
from detectors.structures import FeatureSpec


def test_resnet18_centernet_has_the_published_parameters() -> None:
    with torch.device("meta"):
        neck = Deconv([FeatureSpec(512, 32)], nn.BatchNorm2d, nn.ReLU)
    assert neck.specs == [FeatureSpec(256, 4)]
    # res18 on COCO less the body without classifier and heads: 3x3 to 64, 1x1 to 80, 2 and 2
    heads = 3 * (9 * 256 + 1) * 64 + (64 + 1) * (80 + 2 + 2)
    assert sum(p.numel() for p in neck.parameters()) == 15_820_372 - 11_176_512 - heads


def test_transposed_convolutions_start_small() -> None:
    neck = Deconv([FeatureSpec(64, 16)], nn.BatchNorm2d, nn.ReLU, channels=64)
    for layer in neck.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            assert layer.weight.std().item() == pytest.approx(0.001, rel=0.05)


@pytest.mark.parametrize(("coarse", "fine"), [(4, 4), (32, 64), (24, 4)])
def test_strides_that_doubling_cannot_reach_are_refused(coarse: int, fine: int) -> None:
    with pytest.raises(ValueError, match=f"from stride {coarse} to {fine}"):
        Deconv([FeatureSpec(8, coarse)], nn.BatchNorm2d, nn.ReLU, stride=fine)
