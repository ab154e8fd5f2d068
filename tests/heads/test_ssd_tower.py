import pytest
import torch

from detectors.heads.towers import SSDTower
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(4, 8), FeatureSpec(6, 16)]


def test_every_level_has_its_own_convolutions_and_background_its_own_logit() -> None:
    tower = SSDTower(SPECS, num_classes=3, per_cell=[4, 6])
    maps = tower([torch.zeros(1, 4, 5, 7), torch.zeros(1, 6, 3, 4)])
    assert [logits.shape for logits, _, _ in maps] == [(1, 4 * 4, 5, 7), (1, 6 * 4, 3, 4)]
    assert [deltas.shape for _, deltas, _ in maps] == [(1, 4 * 4, 5, 7), (1, 6 * 4, 3, 4)]


def test_priors_of_another_number_of_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="made for 3 feature levels, but the neck delivers 2"):
        SSDTower(SPECS, num_classes=3, per_cell=[4, 6, 6])
