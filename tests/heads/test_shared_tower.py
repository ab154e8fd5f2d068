"""The shared tower by loops over its levels."""

import torch
from torch import Tensor, nn

from detectors.heads.towers import SharedTower
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(8, stride) for stride in (8, 16, 32)]


def levels() -> list[Tensor]:
    return [torch.randn(2, 8, size, size + 1) for size in (6, 3, 2)]


def test_each_level_multiplies_its_deltas_by_its_own_number() -> None:
    """And nothing else of it; the numbers start at one."""
    tower = SharedTower(SPECS, 3, [1, 1, 1], depth=1, quality=True, scaled=True)
    assert tower.scales is not None
    assert tower.scales.tolist() == [1.0, 1.0, 1.0]
    features = levels()
    plain = tower(features)
    tower.scales.data = torch.tensor([2.0, 0.5, 3.0])
    for found, before, factor in zip(tower(features), plain, (2.0, 0.5, 3.0), strict=True):
        assert torch.equal(found[0], before[0])
        torch.testing.assert_close(found[1], factor * before[1])
        assert torch.equal(found[2], before[2])


def test_levels_share_their_layers_and_the_stacks_share_none() -> None:
    tower = SharedTower(SPECS, 3, [2, 2, 2], depth=2, quality=True, numbers=5)
    features = levels()
    for feature, (logits, deltas, quality) in zip(features, tower(features), strict=True):
        classes, boxes = feature, feature
        for layer in tower.class_stack:
            classes = layer(classes)
        for layer in tower.box_stack:
            boxes = layer(boxes)
        assert torch.equal(logits, tower.logits(classes))
        assert torch.equal(deltas, tower.deltas(boxes))
        assert torch.equal(quality, tower.quality(boxes))
        assert (logits.shape[1], deltas.shape[1], quality.shape[1]) == (2 * 3, 2 * 5, 2)
    convs = [layer for layer in tower.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convs) == 2 + 2 + 3
