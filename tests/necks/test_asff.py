import pytest
import torch
from torch import nn

from detectors.necks.asff import ASFF
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(4, 8), FeatureSpec(6, 16), FeatureSpec(8, 32)]


def test_a_level_is_a_mean_of_all_with_the_weights_of_its_cells() -> None:
    """Equations 1 and 2: here every level delivers a constant, and the weights are known."""
    neck = ASFF(SPECS, None, None, narrow=2)
    fusion = neck.fusions[1]
    for index, layer in enumerate(fusion.resize):
        if index != 1:
            nn.init.zeros_(layer.conv.weight)
            nn.init.constant_(layer.conv.bias, 10.0 * index)
    nn.init.zeros_(fusion.weigh.weight)
    fusion.weigh.bias.data = torch.tensor([1.0, 2.0, 4.0]).log()
    features = [torch.ones(1, s.channels, 64 // s.stride, 96 // s.stride) for s in SPECS]
    found = neck(features)[1]
    torch.testing.assert_close(found, torch.full((1, 6, 4, 6), (0 * 1 + 1 * 2 + 20 * 4) / 7))


def test_strides_that_do_not_double_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ASFF fuses two or more levels.*\[8, 32\]"):
        ASFF([SPECS[0], SPECS[2]], None, None)
