from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detectors.layers.fusion import UnweightedSum
from detectors.necks.bifpn import BiFPN
from detectors.necks.extra_levels import halved_same
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(4, 8), FeatureSpec(6, 16), FeatureSpec(8, 32)]


def _priors(levels: int) -> SimpleNamespace:
    return SimpleNamespace(per_cell=[1] * levels)


def test_nodes_are_joined_as_in_the_paper() -> None:
    """EfficientDet, fig. 2d and the equations below it, on three levels.

    In the first cell the release's path up has laterals of its own.
    """
    neck = BiFPN(SPECS, _priors(3), None, nn.Identity, channels=4, repeats=1).double()
    features = [
        torch.randn(1, spec.channels, 16 // 2**i, 24 // 2**i, dtype=torch.float64)
        for i, spec in enumerate(SPECS)
    ]
    p3, p4, p5 = (lateral(x) for lateral, x in zip(neck.lateral, features, strict=True))
    up4, up5 = (lateral(x) for lateral, x in zip(neck.lateral_up, features[1:], strict=True))
    path = neck.paths[0]

    def conv(node: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return node.pointwise(node.depthwise(x))

    def larger(x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)

    def smaller(x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x, 3, 2, 1)

    middle = conv(path.down[1], (p4 + larger(p5)) / 2.0001)
    out3 = conv(path.down[0], (p3 + larger(middle)) / 2.0001)
    out4 = conv(path.up[0], (up4 + middle + smaller(out3)) / 3.0001)
    out5 = conv(path.up[1], (up5 + smaller(out4)) / 2.0001)
    for found, expected in zip(neck(features), [out3, out4, out5], strict=True):
        torch.testing.assert_close(found, expected)


def test_the_first_cell_has_six_laterals_and_later_ones_none() -> None:
    """Of EfficientDet's five levels: P3, twice P4 and P5, and P6 of P5."""
    neck = BiFPN(SPECS, _priors(5), None, nn.ReLU, channels=5, repeats=2)
    sources = [
        layer.in_channels
        for layer in neck.modules()
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.in_channels != 5
    ]
    assert sorted(sources) == [4, 6, 6, 8, 8, 8]


def test_repeated_paths_see_the_outputs_of_the_one_before_twice() -> None:
    neck = BiFPN(SPECS, _priors(3), None, nn.ReLU, channels=4, repeats=2)
    features = [
        torch.randn(1, spec.channels, 16 // 2**i, 16 // 2**i) for i, spec in enumerate(SPECS)
    ]
    first, second = neck.paths
    entered = []
    first.register_forward_hook(lambda module, inputs, outputs: entered.append(outputs))
    given = neck(features)
    for found, expected in zip(given, second(entered[0], entered[0]), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_there_are_as_many_levels_as_the_priors_want(levels: int) -> None:
    neck = BiFPN(SPECS, _priors(levels), nn.BatchNorm2d, nn.ReLU, channels=4, repeats=1)
    assert [spec.stride for spec in neck.specs] == [8, 16, 32, 64, 128][:levels]


@pytest.mark.parametrize("height", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("width", [5, 6])
def test_same_padding_is_tensorflows(height: int, width: int) -> None:
    """Cells that a side lacks are added as many at both ends, an odd one at the end."""
    x = torch.randn(2, 3, height, width)
    rows, columns = (_windows(side) for side in (height, width))
    expected = torch.stack(
        [torch.stack([x[:, :, r][:, :, :, c].amax((2, 3)) for c in columns], -1) for r in rows], -2
    )
    assert torch.equal(halved_same(x), expected)


def _windows(side: int) -> list[slice]:
    count = -(-side // 2)
    before = max(2 * (count - 1) + 3 - side, 0) // 2
    starts = [2 * index - before for index in range(count)]
    return [slice(max(start, 0), start + 3) for start in starts]


def test_levels_are_halved_and_fused_as_asked() -> None:
    """EfficientDet-D6: sums without weights, TensorFlow's padding, biases before norms."""
    neck = BiFPN(
        SPECS,
        _priors(4),
        nn.BatchNorm2d,
        nn.ReLU,
        4,
        1,
        bias=True,
        halve=halved_same,
        fuse=UnweightedSum,
    ).eval()
    features = [
        torch.randn(1, spec.channels, 16 // 2**i, 8 // 2**i) for i, spec in enumerate(SPECS)
    ]
    entered = []
    neck.paths[0].register_forward_hook(lambda module, inputs, outputs: entered.append(inputs))
    neck(features)
    torch.testing.assert_close(entered[0][0][3], halved_same(neck.lateral[3](features[2])))
    node, (x, y) = neck.paths[0].down[2], (torch.randn(1, 4, 4, 2), torch.randn(1, 4, 4, 2))
    expected = node.pointwise(node.depthwise((x + y).relu()))
    torch.testing.assert_close(node([x, y]), expected)
    biased = [
        layer for layer in neck.modules() if isinstance(layer, nn.Conv2d) and layer.groups == 1
    ]
    assert all(layer.bias is not None for layer in biased)
    assert not any("weights" in name for name, _ in neck.named_parameters())


def test_has_the_parameters_of_efficientdet_d0() -> None:
    """effdet's `fpn` on the levels of B0."""
    specs = [FeatureSpec(40, 8), FeatureSpec(112, 16), FeatureSpec(320, 32)]
    with torch.device("meta"):
        neck = BiFPN(specs, _priors(5), nn.BatchNorm2d, nn.SiLU, bias=True)
    assert sum(parameter.numel() for parameter in neck.parameters()) == 196_281


def test_one_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"BiFPN fuses two or more levels.*\[32\].*part.levels"):
        BiFPN(SPECS[2:], _priors(1), None, nn.ReLU)
