from functools import partial

import pytest
import torch
from torch import nn

from detectors.layers.conv import ConvNormAct


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_size_is_rounded_up(kernel: int, stride: int) -> None:
    layer = ConvNormAct(2, 4, kernel, stride, norm=nn.BatchNorm2d, act=nn.ReLU)
    assert layer(torch.zeros(1, 2, 9, 13)).shape == (1, 4, -(-9 // stride), -(-13 // stride))


def test_bias_only_where_no_norm_follows() -> None:
    assert ConvNormAct(2, 4, 3, norm=nn.BatchNorm2d, act=None).conv.bias is None
    assert ConvNormAct(2, 4, 3, norm=None, act=None).conv.bias is not None


def test_a_bias_before_a_norm_has_to_be_asked_for() -> None:
    assert ConvNormAct(2, 4, 3, norm=nn.BatchNorm2d, act=None, bias=True).conv.bias is not None
    assert ConvNormAct(2, 4, 3, norm=None, act=None, bias=False).conv.bias is None


def test_order_is_convolution_norm_activation() -> None:
    act = partial(nn.LeakyReLU, 0.1)
    layer = ConvNormAct(2, 4, 3, norm=nn.BatchNorm2d, act=act)
    x = torch.randn(3, 2, 5, 5)
    assert torch.equal(layer(x), nn.functional.leaky_relu(layer.norm(layer.conv(x)), 0.1))
