"""`part.backbone.weights` fills any backbone from a file of its own names, or says why not."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import detectors
from detectors.config.compose import compose
from detectors.weights.initial import initial_model

BACKBONES = ["darknet19_thin", "darknet_thin", "csp_darknet_thin", "resnet18", "vgg_small"]
BACKBONES += ["extraction_thin", "tiny_darknet_small", "tiny_csp_darknet_small", "hourglass_small"]
BACKBONES += ["dla_small", "mobilenetv3"]


def built(*words: str) -> nn.Module:
    return initial_model(compose(["norm=batch", *words], "pretrain")).backbone


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of a thin Darknet-19."""
    torch.save(built("backbone=darknet19_thin").state_dict(), tmp_path / "backbone.pt")
    return tmp_path / "backbone.pt"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_takes_its_own_weights(backbone: str, tmp_path: Path) -> None:
    given = built(f"backbone={backbone}").state_dict()
    torch.save(given, tmp_path / "backbone.pt")
    found = built(f"backbone={backbone}", f"part.backbone.weights={tmp_path / 'backbone.pt'}")
    assert found.state_dict().keys() == given.keys()
    assert all(torch.equal(value, given[name]) for name, value in found.state_dict().items())


def test_timms_own_files_are_still_read(tmp_path: Path) -> None:
    state = built("backbone=resnet18").body.state_dict()
    save_file(state, tmp_path / "resnet.safetensors")
    found = built("backbone=resnet18", f"part.backbone.weights={tmp_path / 'resnet.safetensors'}")
    assert torch.equal(found.body.conv1.weight, state["conv1.weight"])


def test_what_is_built_later_does_not_depend_on_a_file(file: Path) -> None:
    words, states = ["backbone=darknet19_thin", "norm=batch"], []
    for more in ([], [f"part.backbone.weights={file}"]):
        torch.manual_seed(0)
        states.append(detectors.build("yolov2", [*words, *more], num_classes=3).head.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_frozen_norms_take_the_statistics_of_batch_norms(file: Path) -> None:
    words = ["backbone=darknet19_thin", "norm=frozen", f"part.backbone.weights={file}"]
    found = built(*words).state_dict()
    given = torch.load(file, weights_only=True)
    assert all(torch.equal(value, given[name]) for name, value in found.items())


def test_a_file_may_end_before_the_backbone_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """ImageNet trains 20 of the 24 convolutions of YOLOv1."""
    given = built("backbone=extraction_thin").state_dict()
    torch.save(given, tmp_path / "backbone.pt")
    words = ["backbone=extraction_thin", f"part.backbone.weights={tmp_path / 'backbone.pt'}"]
    with caplog.at_level(logging.INFO):
        found = built(*words, "part.levels=[64]").state_dict()
    assert len(found) > len(given)
    assert all(torch.equal(value, found[name]) for name, value in given.items())
    assert "ends before stages.5.0.conv.weight" in caplog.text


def test_a_backbone_may_end_before_the_file_does(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["backbone=darknet19_thin", f"part.backbone.weights={file}", "part.levels=[8,16]"]
    with caplog.at_level(logging.INFO):
        found = built(*words).state_dict()
    given = torch.load(file, weights_only=True)
    assert all(torch.equal(value, given[name]) for name, value in found.items())
    assert "stages.5.1.conv.weight and what follows is not in this backbone" in caplog.text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "backbone=darknet19_thin part.backbone.width=4",
            ["0 of its 90", "(8, 3, 3, 3), expected"],
        ),
        ("backbone=darknet19_thin norm=none", ["first 'stages.0.0.conv.bias'", "another norm"]),
        ("backbone=tiny_darknet_small", ["0 of its 35 tensors match", "Choose the backbone"]),
        ("backbone=resnet18", ["lacks", "is it a file of this model"]),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_what_matched(
    file: Path, words: str, told: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"model\.backbone") as refusal:
        built(*words.split(), f"part.backbone.weights={file}")
    assert [part for part in told if part not in str(refusal.value)] == [], str(refusal.value)


def test_no_file_and_no_weights_are_told(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no weights")
    for name, told in (("none.pt", "there is no file"), ("text.pt", "holds no weights")):
        with pytest.raises(ValueError, match=told):
            built("backbone=darknet19_thin", f"part.backbone.weights={tmp_path / name}")
