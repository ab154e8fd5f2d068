"""Names and orders of a YOLOX checkpoint; outputs are compared in tests/test_yolox_parity.py."""

import pytest
import torch

import detectors
from detectors.weights.yolox import from_yolox

PYRAMID = "backbone.backbone.dark5.1.conv1.bn.weight"  # of CSPDarknet
NAMES = {
    "backbone.backbone.stem.conv.conv.weight": "backbone.stem.conv.conv.weight",
    "backbone.backbone.dark2.0.dconv.bn.bias": "backbone.stages.0.0.depthwise.norm.bias",
    "backbone.backbone.dark3.1.m.2.conv2.bn.bias": "backbone.stages.1.1.blocks.2.expand.norm.bias",
    "backbone.backbone.dark5.1.conv2.bn.weight": "backbone.stages.3.1.2.norm.weight",
    "backbone.backbone.dark5.2.conv2.bn.weight": "backbone.stages.3.2.aside.norm.weight",
    "backbone.lateral_conv0.bn.running_var": "neck.squeezes.1.norm.running_var",
    "backbone.C3_n4.conv3.conv.weight": "neck.bottom_up.1.merge.conv.weight",
    "backbone.bu_conv2.pconv.conv.weight": "neck.reductions.0.pointwise.conv.weight",
    "head.cls_convs.2.1.dconv.conv.weight": "head.tower.class_stacks.2.1.depthwise.conv.weight",
    "head.obj_preds.0.bias": "head.tower.quality.0.bias",
}  # fmt: skip
OF_DARKNET = {
    "backbone.backbone.stem.0.bn.weight": "backbone.stem.norm.weight",
    "backbone.backbone.stem.2.layer2.bn.weight": "backbone.stages.0.1.expand.norm.weight",
    "backbone.backbone.dark2.1.layer1.conv.weight": "backbone.stages.1.1.squeeze.conv.weight",
    "backbone.backbone.dark5.7.conv1.bn.weight": "neck.sets.2.0.2.norm.weight",
    "backbone.backbone.dark5.9.conv.weight": "neck.sets.2.2.2.conv.weight",
    "backbone.out2_cbl.bn.weight": "neck.squeezes.0.norm.weight",
    "backbone.out1.3.conv.weight": "neck.sets.1.3.conv.weight",
}


def renamed(names: list[str]) -> list[str]:
    return list(from_yolox({name: torch.zeros(4, 12, 1, 1) for name in names}))


def test_parts_have_our_names() -> None:
    assert renamed([*NAMES, PYRAMID])[:-1] == list(NAMES.values())
    assert renamed(list(OF_DARKNET)) == list(OF_DARKNET.values())


@pytest.mark.parametrize("stem", ["stem.conv", "stem.0"])
def test_blue_comes_last(stem: str) -> None:
    """The releases see BGR, in each of the four pixels that a stem may fold."""
    channels = 12 if stem == "stem.conv" else 3
    weight = torch.arange(channels).float().view(1, -1, 1, 1)
    (found,) = from_yolox({f"backbone.backbone.{stem}.conv.weight": weight}).values()
    expected = [2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9][:channels]
    assert found.flatten().tolist() == expected


@pytest.mark.parametrize("layer", ["dark5.1.conv2", "dark5.7.conv2"])
def test_the_input_of_a_pyramid_comes_last(layer: str) -> None:
    state = {f"backbone.backbone.{layer}.conv.weight": torch.arange(8.0).view(1, -1, 1, 1)}
    extra = {PYRAMID: torch.zeros(1)} if layer.startswith("dark5.1") else {}
    found = next(iter(from_yolox({**state, **extra}).values()))
    assert found.flatten().tolist() == [6, 7, 4, 5, 2, 3, 0, 1]


def test_a_checkpoint_is_a_state_dict_as_well() -> None:
    state = {"head.stems.0.bn.weight": torch.zeros(2)}
    assert from_yolox({"model": state, "start_epoch": 3}).keys() == from_yolox(state).keys()


def test_a_file_of_another_model_is_refused(tmp_path) -> None:
    torch.save({"head.stems.0.bn.weight": torch.zeros(2)}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"weights='yolox:.*missing.*of another shape"):
        detectors.build(
            "yolox_nano", ["size=small"], num_classes=3, weights=f"yolox:{tmp_path}/part.pth"
        )
