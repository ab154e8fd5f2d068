"""Tricks change how the residual blocks of Darknets and timm's networks add."""

from inspect import signature

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

import detectors
from detectors.backbones.csp_darknet import CSPDarknet
from detectors.backbones.darknet import Darknet
from detectors.backbones.stages import ResidualStages
from detectors.layers.dark import DarkBlock, vary_residuals
from detectors.layers.fusion import WeightedSum


def _backbone(family: str, *tricks: str) -> nn.Module:
    with torch.device("meta"):
        words = ["size=small", f"trick=[{','.join(tricks)}]"]
        return detectors.build(family, words).backbone


@pytest.mark.parametrize("family", ["yolov3", "yolov4"])
def test_two_tricks_on_residuals_compose(family: str) -> None:
    layers = list(_backbone(family, "drop_path", "miwrc").modules())
    blocks = [layer for layer in layers if isinstance(layer, DarkBlock)]
    assert all(isinstance(block.join, WeightedSum) for block in blocks)
    rates = [block.drop.p for block in blocks]
    assert rates == sorted(rates)
    assert (rates[0], rates[-1]) == (0, 0.2)


def test_drop_path_reaches_timms_networks() -> None:
    paths = [m for m in _backbone("retinanet", "drop_path").modules() if hasattr(m, "drop_prob")]
    assert max(path.drop_prob for path in paths) == pytest.approx(0.2)


def test_weighted_residuals_start_as_the_mean_of_both() -> None:
    block, x = DarkBlock(4, None, nn.ReLU), torch.randn(1, 4, 3, 3)
    plain = block(x)
    vary_residuals(nn.Sequential(block), 0.0, WeightedSum)
    torch.testing.assert_close(block(x), plain / 2.0001)


def test_a_branch_is_left_out_image_by_image() -> None:
    blocks = nn.Sequential(DarkBlock(4, None, None), DarkBlock(4, None, None))
    vary_residuals(blocks, 0.5, None)
    last, x = blocks[1].train(), torch.randn(64, 4, 2, 2)
    assert isinstance(last.drop, StochasticDepth)
    left_out = (last(x) == x).flatten(1).all(1)
    assert 0 < left_out.sum() < 64
    kept = ~left_out
    branch = last.expand(last.squeeze(x))
    torch.testing.assert_close(last.eval()(x)[kept], (x + branch)[kept])


def test_csp_keeps_depth_width_and_activation_of_the_darknet() -> None:
    plain, partial = _backbone("yolov3"), _backbone("yolov3", "csp")
    assert isinstance(partial, CSPDarknet)
    assert partial.specs == plain.specs
    assert not any(isinstance(layer, nn.Mish) for layer in partial.modules())


@pytest.mark.parametrize(
    ("family", "trick", "ends"),
    [
        ("retinanet", "csp", "csp.*this backbone has .*name"),
        ("yolov2", "csp", "csp.*no depths"),
        ("ssd300", "csp", "csp.*hidden"),
        ("yolov1", "drop_path", "Extraction has no parameter 'drop_path_rate'"),
        ("ssd300", "miwrc", "AtrousVGG has no parameter 'join'"),
        ("fcos", "miwrc", "join"),
    ],
)
def test_other_backbones_refuse(family: str, trick: str, ends: str) -> None:
    with pytest.raises(ValueError, match=ends):
        _backbone(family, trick)


@pytest.mark.parametrize("backbone", [Darknet, CSPDarknet])
def test_backbones_of_residual_stages_take_what_their_contract_says(backbone: type) -> None:
    assert set(signature(backbone).parameters) == set(ResidualStages._fields)
