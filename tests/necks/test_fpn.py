from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import (
    FeaturePyramidNetwork,
    LastLevelMaxPool,
    LastLevelP6P7,
)

from detectors.necks.extra_levels import LevelsFromOutput
from detectors.necks.fpn import FPN, LevelsFromInput, PooledLevel
from detectors.priors import Points
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(6, 8), FeatureSpec(10, 16), FeatureSpec(14, 32)]
TWO_FROM_OUTPUT = partial(LevelsFromOutput, priors=Points(levels=5))


def _features() -> list[Tensor]:
    sizes = [(13, 9), (7, 5), (4, 3)]
    return [torch.randn(2, s.channels, *size) for s, size in zip(SPECS, sizes, strict=True)]


@pytest.mark.parametrize(
    ("extra", "theirs"),
    [
        (None, lambda: None),
        (PooledLevel, LastLevelMaxPool),
        (TWO_FROM_OUTPUT, lambda: LastLevelP6P7(8, 8)),
        (LevelsFromInput, lambda: LastLevelP6P7(14, 8)),
    ],
)
def test_equals_torchvisions_with_weights_in_the_same_order(
    extra: Callable | None, theirs: Callable[[], nn.Module | None]
) -> None:
    reference = FeaturePyramidNetwork([spec.channels for spec in SPECS], 8, theirs())
    ours = FPN(SPECS, channels=8, extra=extra)
    weights = reference.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), weights, strict=True)))
    features = _features()
    expected = reference({str(i): feature for i, feature in enumerate(features)}).values()
    for found, wanted in zip(ours(features), expected, strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("extra", "published"),  # pyramids on C3-C5 of ResNet-50, RetinaNet v1 and v2 of torchvision
    [(TWO_FROM_OUTPUT, 27_376_704 - 23_508_032), (LevelsFromInput, 31_505_472 - 23_508_032)],
)
def test_has_the_published_parameters(extra: Callable, published: int) -> None:
    with torch.device("meta"):
        neck = FPN([FeatureSpec(512, 8), FeatureSpec(1024, 16), FeatureSpec(2048, 32)], 256, extra)
    assert sum(p.numel() for p in neck.parameters()) == published


def test_is_drawn_like_torchvisions() -> None:
    neck = FPN(SPECS, channels=8, extra=LevelsFromInput)
    for layer in neck.modules():
        if isinstance(layer, nn.Conv2d):
            bound = (3 / layer.weight[0].numel()) ** 0.5  # kaiming_uniform_(a=1)
            assert 0.8 * bound < layer.weight.abs().max() <= bound
            assert layer.bias.count_nonzero() == 0


def test_between_added_levels_stands_a_relu_unless_it_is_left_out() -> None:
    torch.manual_seed(0)
    features = _features()
    for rectified in (True, False):
        neck = FPN(SPECS, 8, partial(TWO_FROM_OUTPUT, rectified=rectified))
        *_, p5, p6, p7 = neck(features)
        p6_conv, p7_conv = neck.extra.values()
        assert torch.equal(p6, p6_conv(p5))
        assert torch.equal(p7, p7_conv(p6.relu() if rectified else p6))
        assert (p6 < 0).any()
