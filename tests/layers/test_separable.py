import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detectors.layers.separable import SeparableConv, glorot


def test_channels_are_convolved_one_by_one_and_then_mixed() -> None:
    layer = SeparableConv(3, 5)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 6, 7)
    own = [
        F.conv2d(x[:, c : c + 1], layer.depthwise.weight[c : c + 1], padding=1) for c in (0, 1, 2)
    ]
    expected = torch.einsum("oc,bchw->bohw", layer.pointwise.weight[..., 0, 0], torch.cat(own, 1))
    torch.testing.assert_close(layer(x), expected + layer.bias.view(-1, 1, 1))


def test_starts_with_variance_one_over_fan_in() -> None:
    layer = SeparableConv(1000, 200)
    assert layer.depthwise.weight.std().item() == pytest.approx(1 / 3, rel=0.05)
    assert layer.pointwise.weight.std().item() == pytest.approx(1000**-0.5, rel=0.05)
    assert layer.bias.count_nonzero() == 0
    assert SeparableConv(4, 4, bias=False).bias is None


def test_glorot_counts_the_channels_of_one_group() -> None:
    """Equation 16: both fans of a 3x3 depthwise convolution are 9, of a 1x1 its channels."""
    layer = SeparableConv(400, 200)
    glorot(layer)
    for conv, fans in ((layer.depthwise, 9 + 9), (layer.pointwise, 400 + 200)):
        limit = (6 / fans) ** 0.5
        assert 0.98 * limit < conv.weight.abs().max().item() <= limit
        assert conv.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
