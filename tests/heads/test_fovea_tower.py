"""The aligned tower of FoveaBox: samples that boxes shift."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detectors.heads.fovea_tower import AlignedTower
from detectors.layers.norm import group_norm
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(8, 8), FeatureSpec(8, 16)]


def tower() -> AlignedTower:
    return AlignedTower(SPECS, 3, [1, 1], norm=partial(group_norm, groups=4), depth=1)


def test_without_shifts_it_is_an_ordinary_convolution() -> None:
    made = tower()
    nn.init.zeros_(made.shifts.weight)
    feature = torch.randn(2, 8, 6, 7)
    read = F.conv2d(feature, made.aligned.weight, padding=1).relu()
    ((logits, deltas, quality), *_) = made([feature])
    torch.testing.assert_close(logits, made.logits(made.class_stack(read)))
    assert torch.equal(deltas, made.deltas(made.box_stack(feature)))
    assert quality is None


def test_samples_of_each_group_are_shifted_by_their_own_numbers() -> None:
    """All rows of the second of four groups by one cell down, and nothing else."""
    made = tower()
    nn.init.zeros_(made.deltas.weight)  # so that each of the four numbers is exp(0)
    nn.init.zeros_(made.shifts.weight)
    down = made.shifts.weight.data.view(4, 9, 2, 4)  # group, sample, (y, x), number
    down[1, :, 0, 2] = 1.0
    feature = torch.randn(1, 8, 6, 7)
    moved = feature.clone()
    moved[:, 2:4] = F.pad(feature[:, 2:4, 1:], (0, 0, 0, 1))
    below = F.pad(feature[:, 2:4], (0, 0, 0, 1))[:, :, 1:]
    assert torch.equal(moved[:, 2:4], below)
    found = made.aligned(feature, made.shifts(torch.ones(1, 4, 6, 7)))
    inner = (slice(None), slice(None), slice(1, -2), slice(1, -1))  # away from the padding
    torch.testing.assert_close(found[inner], F.conv2d(moved, made.aligned.weight, padding=1)[inner])


def test_classes_teach_the_boxes_too() -> None:
    made = tower()
    nn.init.normal_(made.deltas.weight)
    ((logits, *_), _) = made([torch.randn(1, 8, 6, 7), torch.randn(1, 8, 3, 4)])
    logits.square().sum().backward()
    assert made.deltas.weight.grad is not None
    assert made.deltas.weight.grad.any()


def test_takes_one_prior_a_cell() -> None:
    with pytest.raises(ValueError, match="one box a cell"):
        AlignedTower(SPECS, 3, [2, 2], norm=partial(group_norm, groups=4))
