from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from detectors.backbones.vgg import VGG, AtrousVGG
from detectors.structures import FeatureSpec

WIDTHS, DEPTHS = (2, 3, 4, 5, 6), (2, 2, 3, 3, 3)


def _file(path: Path) -> dict[str, Tensor]:
    """A thin VGG-16 in torchvision's form, its hidden layers 8 wide."""
    state, before, layer = {}, 3, 0
    for width, depth in zip(WIDTHS, DEPTHS, strict=True):
        for _ in range(depth):
            state[f"features.{layer}.weight"] = torch.randn(width, before, 3, 3)
            state[f"features.{layer}.bias"] = torch.randn(width)
            before, layer = width, layer + 2
        layer += 1
    for name, entering in (("classifier.0", 6 * 49), ("classifier.3", 8)):
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.randn(8, entering), torch.randn(8)
    torch.save(state, path)
    return state


def test_a_file_fills_all_layers(tmp_path: Path) -> None:
    state = _file(tmp_path / "vgg.pth")
    plain = VGG(None, nn.ReLU, WIDTHS, DEPTHS, weights=tmp_path / "vgg.pth")
    atrous = AtrousVGG(None, nn.ReLU, WIDTHS, DEPTHS, hidden=2, weights=tmp_path / "vgg.pth")
    for network in (plain, atrous):
        assert torch.equal(network.stages[0][0].conv.weight, state["features.0.weight"])
        assert torch.equal(network.stages[4][2].conv.bias, state["features.28.bias"])
    fc6 = state["classifier.0.weight"].view(8, 6, 7, 7)
    for row in range(2):
        for i in range(3):
            for j in range(3):
                found = atrous.fc6.conv.weight[row, :, i, j]
                assert torch.equal(found, fc6[4 * row, :, 3 * i, 3 * j])
        fc7 = state["classifier.3.weight"][4 * row]
        assert torch.equal(atrous.fc7.conv.weight[row, :, 0, 0], fc7[[0, 4]])
        assert atrous.fc7.conv.bias[row] == state["classifier.3.bias"][4 * row]


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    _file(tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"13 convolutions, expected the 13.*norm=none"):
        VGG(nn.BatchNorm2d, nn.ReLU, WIDTHS, DEPTHS, weights=tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match="is it a file of this model"):
        VGG(None, nn.ReLU, weights=tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match="there is no file"):
        VGG(None, nn.ReLU, weights=tmp_path / "absent.pth")


def test_conv4_3_has_length_20_everywhere() -> None:
    network = AtrousVGG(None, nn.ReLU, WIDTHS, DEPTHS, hidden=4)
    conv4_3, fc7 = network(torch.randn(1, 3, 300, 300))
    assert network.specs == [FeatureSpec(5, 8), FeatureSpec(4, 16)]
    assert conv4_3.shape[2:] == (38, 38)
    assert fc7.shape[2:] == (19, 19)
    lengths = conv4_3.square().sum(1).sqrt()
    lengths = lengths[lengths > 0]
    torch.testing.assert_close(lengths, torch.full_like(lengths, 20))
