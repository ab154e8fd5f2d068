import pytest
import torch
from torch import nn

from detectors.necks.csp_pan import CSPPAN
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(4, 8), FeatureSpec(8, 16)]


def test_what_changed_its_size_stands_first_on_both_ways() -> None:
    neck = CSPPAN(SPECS, nn.BatchNorm2d, nn.SiLU, depth=0.33).eval()
    fine, coarse = torch.randn(1, 4, 6, 6), torch.randn(1, 8, 3, 3)
    with torch.no_grad():
        for layer in (neck.top_down[0].enter, neck.top_down[0].aside):
            layer.conv.weight[:, :4] = 0  # deaf to the coarser level
    before = neck([fine, coarse])
    assert torch.equal(neck([fine, torch.randn(1, 8, 3, 3)])[0], before[0])
    assert not torch.equal(neck([torch.randn(1, 4, 6, 6), coarse])[0], before[0])
    with torch.no_grad():
        for layer in (neck.bottom_up[0].enter, neck.bottom_up[0].aside):
            layer.conv.weight[:, :4] = 0  # deaf to the finer level
    before = neck([fine, coarse])
    assert torch.equal(neck([torch.randn(1, 4, 6, 6), coarse])[1], before[1])
    assert not torch.equal(neck([fine, torch.randn(1, 8, 3, 3)])[1], before[1])


def test_one_width_serves_all_levels() -> None:
    neck = CSPPAN(SPECS, None, nn.SiLU, depth=0.33, channels=6)
    outputs = neck([torch.zeros(1, 4, 5, 7), torch.zeros(1, 8, 3, 4)])
    assert [output.shape for output in outputs] == [(1, 6, 5, 7), (1, 6, 3, 4)]


@pytest.mark.parametrize("specs", [SPECS[:1], [FeatureSpec(8, 4), FeatureSpec(8, 4)]])
def test_one_level_and_stacks_are_refused(specs: list[FeatureSpec]) -> None:
    with pytest.raises(ValueError, match="CSPPAN fuses two or more levels whose strides double"):
        CSPPAN(specs, None, nn.SiLU)
