"""CSPDenseNet against the equations of its paper and the layers of darknet's DenseNet-201."""

import pytest
import torch
from torch import nn

from detectors.backbones.csp_densenet import CSPDenseNet, PartialDense
from detectors.structures import FeatureSpec

# `cfg/densenet201.cfg`: dense layers and the channels of the transition of each stage. The last
# stage has none there; twice as many as before are ours.
STAGES = [(6, 128), (12, 256), (48, 512), (32, 1024)]


def of_convolution(before: int, after: int, side: int) -> int:
    """Weights, and two numbers of batch norm for each channel."""
    return before * after * side**2 + 2 * after


def of_stage(channels: int, depth: int, width: int) -> int:
    half = channels // 2
    layers = [
        of_convolution(half + 32 * index, 128, 1) + of_convolution(128, 32, 3)
        for index in range(depth)
    ]
    leave, merge = half + 32 * depth, half + width
    return sum(layers) + of_convolution(leave, width, 1) + of_convolution(merge, width, 1)


def test_has_the_parameters_of_its_formula() -> None:
    with torch.device("meta"):
        network = CSPDenseNet(nn.BatchNorm2d, nn.LeakyReLU)
    channels, expected = 64, of_convolution(3, 64, 7)
    for depth, width in STAGES:
        expected += of_stage(channels, depth, width)
        channels = width
    assert sum(p.numel() for p in network.parameters()) == expected == 16_649_664
    assert network.specs == [FeatureSpec(256, 8), FeatureSpec(512, 16), FeatureSpec(1024, 32)]


def test_a_stage_is_the_equations_of_the_paper() -> None:
    """x_k = w_k * [x_0'', x_1, ...], x_T = w_T * [x_0'', x_1, ...], x_U = w_U * [x_0', x_T]."""
    torch.manual_seed(0)
    stage = PartialDense(6, 10, depth=3, growth=2, norm=None, act=nn.ReLU)
    x = torch.randn(2, 6, 5, 4)
    seen = [x[:, 3:]]
    for layer in stage.layers:
        seen.append(layer.grow(layer.squeeze(torch.cat(seen, dim=1))))
    leave = stage.leave(torch.cat(seen, dim=1))
    expected = stage.merge(torch.cat([x[:, :3], leave], dim=1))
    torch.testing.assert_close(stage(x), expected, rtol=0, atol=0)
    assert [layer.grow.conv.in_channels for layer in stage.layers] == [8, 8, 8]


def test_the_first_half_passes_no_dense_layer() -> None:
    stage = PartialDense(6, 10, depth=3, growth=2, norm=None, act=nn.ReLU)
    x = torch.randn(1, 6, 5, 4, requires_grad=True)
    stage.leave(stage.layers(x.chunk(2, dim=1)[1])).sum().backward()
    assert not x.grad[:, :3].any()
    assert x.grad[:, 3:].any()


def test_stages_behind_the_last_level_are_not_built() -> None:
    network = CSPDenseNet(None, None, (1, 1, 1, 1), growth=2, width=4, strides=[4, 8])
    assert len(network.stages) == 2
    levels = network(torch.randn(1, 3, 21, 37))
    assert [tuple(level.shape) for level in levels] == [(1, 8, 6, 10), (1, 16, 3, 5)]


def test_unknown_stride_is_refused_with_those_offered() -> None:
    with pytest.raises(ValueError, match=r"CSPDenseNet offers \[4, 8, 16, 32\]"):
        CSPDenseNet(None, None, strides=[2])
