"""Darknet-19 and YOLOv1's network, layer by layer."""

from functools import partial

import pytest
import torch
from torch import nn

from detectors.backbones.darknet19 import Darknet19
from detectors.backbones.extraction import Extraction
from detectors.structures import FeatureSpec

ACT = partial(nn.LeakyReLU, 0.1)
# kernel-filters, /2 for a stride of 2, max for 2 x 2 pooling
DARKNET19 = """3-32 max 3-64 max 3-128 1-64 3-128 max 3-256 1-128 3-256 max
3-512 1-256 3-512 1-256 3-512 max 3-1024 1-512 3-1024 1-512 3-1024"""  # YOLOv2, Table 6
EXTRACTION = """7/2-64 max 3-192 max 1-128 3-256 1-256 3-512 max
1-256 3-512 1-256 3-512 1-256 3-512 1-256 3-512 1-512 3-1024 max
1-512 3-1024 1-512 3-1024 3-1024 3/2-1024 3-1024 3-1024"""  # YOLOv1, Fig. 3


def _layers(network: nn.Module) -> list[str]:
    names = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            stride = "/2" if layer.stride == (2, 2) else ""
            names.append(f"{layer.kernel_size[0]}{stride}-{layer.out_channels}")
        elif isinstance(layer, nn.MaxPool2d):
            names.append("max")
    return names


@pytest.mark.parametrize(("kind", "published"), [(Darknet19, DARKNET19), (Extraction, EXTRACTION)])
def test_layers_are_the_published_ones(kind: type[nn.Module], published: str) -> None:
    with torch.device("meta"):
        network = kind(nn.BatchNorm2d, ACT)
    assert _layers(network) == published.split()


def test_levels_end_before_the_pooling() -> None:
    with torch.device("meta"):
        darknet = Darknet19(nn.BatchNorm2d, ACT, strides=[8, 16, 32])
        extraction = Extraction(None, ACT, strides=[32, 64])
        features = extraction(torch.empty(1, 3, 448, 448))
    assert darknet.specs == [FeatureSpec(256, 8), FeatureSpec(512, 16), FeatureSpec(1024, 32)]
    assert extraction.specs == [FeatureSpec(1024, 32), FeatureSpec(1024, 64)]
    assert [feature.shape[-1] for feature in features] == [14, 7]


def test_a_signal_survives_24_convolutions_without_batch_norm() -> None:
    network = Extraction(None, ACT, width=8)
    (feature,) = network(torch.rand(2, 3, 128, 128))
    assert 0.01 < feature.std() < 10


@pytest.mark.parametrize("kind", [Darknet19, Extraction])
@pytest.mark.parametrize("strides", [[], [16, 128], [3]])
def test_unknown_stride_is_refused_with_those_offered(
    kind: type[nn.Module], strides: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"offers \[.*2, 4, 8, 16, 32.*\]"):
        kind(None, ACT, strides=strides)
