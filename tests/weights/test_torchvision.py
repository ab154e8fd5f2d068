"""Loading says what fits, what does not, and what to do about it."""

import logging
from pathlib import Path

import pytest
import torch
from torchvision.models.detection import fcos_resnet50_fpn

import detectors


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's FCOS of five classes."""
    path = tmp_path_factory.mktemp("weights") / "five.pth"
    theirs = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=5)
    torch.save(theirs.state_dict(), path)
    return path


def test_another_class_count_is_refused_with_the_remedy(file: Path) -> None:
    with pytest.raises(ValueError, match=r"logits.weight is \(5.*set weights_classes to"):
        detectors.build("fcos", num_classes=3, weights=f"torchvision:{file}")


def test_what_depends_on_the_class_count_is_left_out_when_asked(file: Path, caplog) -> None:
    weights = f"torchvision:{file}"
    whole = detectors.build("fcos", num_classes=5, weights=weights).state_dict()
    with caplog.at_level(logging.INFO):
        ours = detectors.build("fcos", num_classes=3, weights=weights, weights_classes=5)
    state = ours.state_dict()
    left_out = {name for name in state if not torch.equal(state[name], whole[name])}
    assert left_out == {"head.tower.logits.weight", "head.tower.logits.bias"}
    for name in left_out:
        assert f"left out {name}, which depends on the number of classes: (5" in caplog.text
    assert "filled all tensors" in caplog.text


def test_asking_does_not_excuse_anything_else(file: Path) -> None:
    with pytest.raises(ValueError, match=r"neck.extra.p6.conv.weight is \(256, 256"):
        detectors.build(
            "fcos", ["neck=fpn_c5"], num_classes=3, weights=f"torchvision:{file}", weights_classes=5
        )
    with pytest.raises(ValueError, match=r"logits.weight is \(5"):
        detectors.build("fcos", num_classes=3, weights=f"torchvision:{file}", weights_classes=4)


def test_a_class_count_of_no_file_is_refused() -> None:
    with pytest.raises(ValueError, match="none is loaded: set weights=KIND:FILE"):
        detectors.build("fcos", ["size=small"], num_classes=3, weights_classes=5)
