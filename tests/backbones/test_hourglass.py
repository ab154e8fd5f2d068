from functools import partial

import pytest
import torch
from torch import nn

from detectors.backbones.hourglass import StackedHourglass
from detectors.heads import Head
from detectors.heads.stacked import StackedHead
from detectors.structures import FeatureSpec

SMALL = {"stem": 4, "widths": [6, 8, 10], "depths": [1, 1, 2]}


def test_the_second_stack_sees_the_first() -> None:
    network = StackedHourglass(nn.BatchNorm2d, partial(nn.LeakyReLU, 0.1), **SMALL).eval()
    images = torch.randn(1, 3, 40, 56)
    before = network(images)
    with torch.no_grad():
        network.outputs[0].conv.weight.neg_()
    after = network(images)
    assert [f.shape for f in after] == [(1, 6, 10, 14)] * 2
    assert not torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


class _Constant(Head):
    """A head whose losses and candidates tell which one it is."""

    def __init__(self, specs: list[FeatureSpec]) -> None:
        super().__init__()
        self.stride = specs[0].stride

    def forward(self, features: list, frames: object, targets: object = None) -> tuple:
        return (features[0], self.stride)

    def loss(self, output: tuple, targets: object) -> dict[str, torch.Tensor]:
        return {"class": torch.tensor(float(output[0])), "box": torch.tensor(float(output[1]))}

    def assign(self, output: tuple, targets: object) -> tuple:
        return output

    def detect(self, output: tuple) -> tuple:
        return output


@pytest.mark.parametrize("features", [[3, 5]])
def test_stacked_head_averages_losses_and_detects_with_the_last(features: list[int]) -> None:
    head = StackedHead([FeatureSpec(1, 4), FeatureSpec(1, 8)], _Constant)
    output = head(features, None)
    assert {name: loss.item() for name, loss in head.loss(output, None).items()} == {
        "class": 4,
        "box": 6,
    }
    assert head.detect(output) == (5, 8)
