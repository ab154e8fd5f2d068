import pytest
import torch
from torch import nn

from detectors.backbones.tiny_darknet import TinyCSPDarknet, TinyDarknet
from detectors.layers.csp import TinyCSPStage
from detectors.structures import FeatureSpec


@pytest.mark.parametrize(
    ("kind", "coarsest", "convolutions", "published"),
    [(TinyDarknet, 1024, 7, 6_294_416), (TinyCSPDarknet, 512, 15, 3_629_728)],
)
def test_has_the_parameters_of_the_cfg(
    kind: type, coarsest: int, convolutions: int, published: int
) -> None:
    with torch.device("meta"):
        network = kind(nn.BatchNorm2d, nn.ReLU)
    assert network.specs == [FeatureSpec(256, 16), FeatureSpec(coarsest, 32)]
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == convolutions
    assert sum(p.numel() for p in network.parameters()) == published


@pytest.mark.parametrize(
    ("kind", "strides"), [(TinyDarknet, [2, 4]), (TinyCSPDarknet, [4, 16]), (TinyDarknet, [32])]
)
def test_any_levels_can_be_asked_for(kind: type, strides: list[int]) -> None:
    network = kind(nn.BatchNorm2d, nn.ReLU, width=4, strides=strides)
    features = network(torch.zeros(2, 3, 64, 96))
    for spec, stride, feature in zip(network.specs, strides, features, strict=True):
        assert feature.shape == (2, spec.channels, 64 // stride, 96 // stride)
        assert spec.stride == stride


def test_a_tiny_stage_processes_its_second_half() -> None:
    stage = TinyCSPStage(4, 8, norm=None, act=None)
    x = torch.randn(1, 4, 5, 5)
    onward, level = stage(x)
    assert torch.equal(onward, torch.cat([stage.whole(x), level], dim=1))
    with torch.no_grad():
        stage.whole.conv.weight[:4] += 1  # the first half is only handed on
    assert torch.equal(stage(x)[1], level)
