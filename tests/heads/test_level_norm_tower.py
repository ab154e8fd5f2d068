"""A tower of shared convolutions and norms by level, against loops."""

import pytest
import torch
from torch import Tensor, nn

from detectors.heads.level_norm_tower import Convolution, LevelNormTower, plain_conv
from detectors.layers.separable import SeparableConv
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(6, 8), FeatureSpec(6, 16), FeatureSpec(6, 32)]


def _tower(convolution: Convolution = SeparableConv, **settings: object) -> LevelNormTower:
    torch.manual_seed(0)
    tower = LevelNormTower(SPECS, 3, [2, 2, 2], nn.BatchNorm2d, nn.SiLU, convolution, **settings)
    for layer in tower.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return tower


def _features() -> list[Tensor]:
    return [torch.randn(2, 6, 8 // 2**level, 12 // 2**level) for level in range(3)]


@pytest.mark.parametrize("convolution", [SeparableConv, plain_conv])
def test_convolutions_are_shared_and_norms_are_of_the_level(convolution: Convolution) -> None:
    tower, features = _tower(convolution, depth=2, quality=True), _features()
    assert tower.predicts_quality
    for level, (logits, deltas, quality) in enumerate(tower(features)):
        found = {}
        for name, stack in (("class", tower.class_stack), ("box", tower.box_stack)):
            x = features[level]
            for step in range(2):
                x = stack.convs[step](x)
                norm = stack.norms[level][step]
                mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
                x = (x - mean.view(-1, 1, 1)) / (var.view(-1, 1, 1) + 1e-5).sqrt()
                x = x * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
                x = x * x.sigmoid()
            found[name] = x
        torch.testing.assert_close(logits, tower.logits(found["class"]))
        torch.testing.assert_close(deltas, tower.deltas(found["box"]))
        torch.testing.assert_close(quality, tower.quality(found["box"]))


def test_has_the_parameters_of_efficientdet_d0() -> None:
    """90 classes: class net 69,354 and box net 19,044 of effdet."""
    specs = [FeatureSpec(64, 8 * 2**level) for level in range(5)]
    with torch.device("meta"):
        tower = LevelNormTower(specs, 90, [9] * 5, nn.BatchNorm2d, nn.SiLU, SeparableConv)
    parts = {"class": [tower.class_stack, tower.logits], "box": [tower.box_stack, tower.deltas]}
    counts = {
        name: sum(p.numel() for part in two for p in part.parameters())
        for name, two in parts.items()
    }
    assert counts == {"class": 69_354, "box": 19_044}


def test_starts_sure_that_nothing_is_there() -> None:
    tower = _tower()
    bias = tower.logits.pointwise.bias
    torch.testing.assert_close(bias.sigmoid(), torch.full_like(bias, 0.01))
    assert tower.deltas.pointwise.bias.count_nonzero() == 0


def test_plain_convolutions_start_as_retinanets() -> None:
    conv = plain_conv(64, 64)
    assert conv.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert conv.bias.count_nonzero() == 0


def test_levels_of_different_width_are_refused() -> None:
    specs = [FeatureSpec(6, 8), FeatureSpec(8, 16)]
    with pytest.raises(ValueError, match=r"LevelNormTower shares its weights.*\[6, 8\]"):
        LevelNormTower(specs, 3, [1, 1], nn.BatchNorm2d, nn.SiLU, SeparableConv)
