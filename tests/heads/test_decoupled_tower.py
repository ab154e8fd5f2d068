import pytest
import torch
from torch import Tensor, nn

from detectors.heads.decoupled_tower import DecoupledTower
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(4, 8), FeatureSpec(6, 16)]


def tower(**words: object) -> DecoupledTower:
    return DecoupledTower(SPECS, 3, [1, 2], nn.BatchNorm2d, nn.SiLU, **words).eval()


def features() -> list[Tensor]:
    return [torch.randn(2, 4, 6, 8), torch.randn(2, 6, 3, 4)]


def test_levels_may_differ_in_channels_and_priors() -> None:
    for (logits, deltas, quality), anchors, cells in zip(
        tower()(features()), (1, 2), ((6, 8), (3, 4)), strict=True
    ):
        assert logits.shape == (2, 3 * anchors, *cells)
        assert deltas.shape == (2, 4 * anchors, *cells)
        assert quality.shape == (2, anchors, *cells)


def test_objectness_is_read_beside_the_box() -> None:
    """What changes in the stack of the classes changes neither."""
    made, levels = tower(), features()
    before = made(levels)
    for stack in made.class_stacks:
        nn.init.normal_(stack[0].conv.weight)
    for (logits, *boxes), (old, *others) in zip(made(levels), before, strict=True):
        assert not torch.equal(logits, old)
        assert all(torch.equal(a, b) for a, b in zip(boxes, others, strict=True))


def test_scores_start_at_the_probability() -> None:
    made = tower(probability=0.02)
    for layer in (*made.logits, *made.quality):
        assert layer.bias.sigmoid().tolist() == pytest.approx([0.02] * len(layer.bias))


def test_width_is_a_multiple_of_the_finest_levels() -> None:
    assert {stem.conv.out_channels for stem in tower(width=2.0).stems} == {8}
    assert [delta.out_channels for delta in tower(numbers=68).deltas] == [68, 136]
