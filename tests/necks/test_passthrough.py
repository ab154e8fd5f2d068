from functools import partial

import pytest
import torch
from torch import Tensor, nn

from detectors.necks.passthrough import Passthrough, reorg
from detectors.structures import FeatureSpec

ACT = partial(nn.LeakyReLU, 0.1)
SPECS = [FeatureSpec(64, 16), FeatureSpec(128, 32)]


def _element_by_element(x: Tensor) -> Tensor:
    """The index formula of darknet's reorg layer, number by number."""
    batch, channels, height, width = x.shape
    few = channels // 4  # planes it believes to have, of twice the sides
    source, found = x.flatten(), torch.empty(x.numel())
    for b in range(batch):
        for k in range(channels):
            for j in range(height):
                for i in range(width):
                    offset, plane = k // few, k % few
                    column, row = 2 * i + offset % 2, 2 * j + offset // 2
                    wide = column + 2 * width * (row + 2 * height * (plane + few * b))
                    found[i + width * (j + height * (k + channels * b))] = source[wide]
    return found.view(batch, 4 * channels, height // 2, width // 2)


@pytest.mark.parametrize("shape", [(1, 64, 26, 26), (2, 8, 4, 6)])
def test_reorg_is_darknets(shape: tuple[int, ...]) -> None:
    x = torch.arange(torch.tensor(shape).prod()).float().view(shape)
    assert torch.equal(reorg(x), _element_by_element(x))


def test_reorg_mixes_channels_as_the_released_weights_expect() -> None:
    """Rows of Darknet-19's 64 channels that stand in the first three planes."""
    rows = torch.arange(26.0).view(1, 1, 26, 1) + 100 * torch.arange(64.0).view(1, 64, 1, 1)
    found = reorg(rows.expand(1, 64, 26, 26))[0, :, :, 0]
    assert found[0].tolist() == [0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24]
    assert found[1].tolist() == [25, 102, 103, 106, 107, 110, 111, 114, 115, 118, 119, 122, 123]
    assert found[2].tolist() == [200 + row for row in found[0].tolist()]


def test_the_finer_level_is_concatenated_first() -> None:
    neck = Passthrough(SPECS, nn.BatchNorm2d, ACT).eval()
    features = [torch.randn(1, 64, 6, 8), torch.randn(1, 128, 3, 4)]
    seen = []
    neck.merge.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    neck(features)
    assert torch.equal(seen[0][:, :32], reorg(neck.squeeze(features[0])))
    assert torch.equal(seen[0][:, 32:], neck.deepen(features[1]))


@pytest.mark.parametrize("strides", [[32], [8, 32]])
def test_levels_that_do_not_lie_a_factor_of_two_apart_are_refused(strides: list[int]) -> None:
    with pytest.raises(ValueError, match=r"factor of 2.*part.levels=\[16,32\]"):
        Passthrough([FeatureSpec(8, stride) for stride in strides], None, ACT)
