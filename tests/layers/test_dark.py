import torch
from torch import nn

from detectors.layers.conv import ConvNormAct
from detectors.layers.dark import DarkBlock, init_darknet


def test_block_adds_its_input_and_nothing_follows() -> None:
    block = DarkBlock(4, norm=nn.BatchNorm2d, act=nn.ReLU)
    x = -torch.rand(2, 4, 5, 5)
    nn.init.zeros_(block.expand.norm.weight)
    assert torch.equal(block(x), x)


def test_init_fills_the_published_interval() -> None:
    layer = ConvNormAct(64, 64, 3, norm=None, act=None, groups=2)
    init_darknet(layer)
    bound = (2 / (3 * 3 * 32)) ** 0.5
    assert 0.99 * bound < layer.conv.weight.abs().max() <= bound
    assert layer.conv.bias.count_nonzero() == 0
