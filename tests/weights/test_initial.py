"""Training starts from one source of weights; the order is fixed, and two at a time are refused."""

import logging
from pathlib import Path

import pytest
import timm
import torch
from omegaconf import OmegaConf

import detectors
from detectors.config.compose import compose
from detectors.weights.initial import initial_model, source_of, unread

SMALL = ["model=retinanet", "size=small"]


@pytest.fixture(scope="module")
def backbone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 whose every number is a half, under our names."""
    state = detectors.build("retinanet", ["size=small"]).backbone.state_dict()
    file = tmp_path_factory.mktemp("weights") / "backbone.pt"
    torch.save({name: torch.full_like(value, 0.5) for name, value in state.items()}, file)
    return file


def test_without_a_source_weights_are_random() -> None:
    cfg = compose(SMALL)
    assert source_of(cfg) is None
    torch.manual_seed(1)
    first = initial_model(cfg).state_dict()
    torch.manual_seed(1)
    second = initial_model(cfg).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_backbone_file_fills_the_backbone_and_changes_no_other_draw(backbone_file: Path) -> None:
    torch.manual_seed(1)
    plain = initial_model(compose(SMALL)).state_dict()
    torch.manual_seed(1)
    filled = initial_model(compose([*SMALL, f"part.backbone.weights={backbone_file}"]))
    for name, value in filled.state_dict().items():
        if name.startswith("backbone."):
            assert (value == 0.5).all() or not value.is_floating_point()
        else:
            assert torch.equal(value, plain[name])


@pytest.mark.parametrize(
    ("words", "first", "second"),
    [
        (
            ["weights=darknet:x", "part.backbone.weights=y"],
            "weights=darknet:x",
            "backbone.weights=y",
        ),
        (["weights=torchvision:x", "part.backbone.pretrained=true"], "weights=torch", "pretrained"),
        (
            ["part.backbone.weights=y", "part.backbone.pretrained=true"],
            "part.backbone.weights=y",
            "timm's hub",
        ),
    ],
)
def test_two_sources_are_refused_by_name(words: list[str], first: str, second: str) -> None:
    with pytest.raises(ValueError, match="training starts from one of them") as refusal:
        initial_model(compose([*SMALL, *words]))
    assert first in str(refusal.value)
    assert second in str(refusal.value)


def test_a_resumed_run_asks_neither_file_nor_hub(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoint has all weights, so a run is resumed where there is no network."""
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **arguments: object) -> torch.nn.Module:
        assert not pretrained
        return create(name, pretrained=False, **arguments)

    monkeypatch.setattr(timm, "create_model", offline)
    words = ["ckpt_path=last", "part.backbone.pretrained=true", "weights=darknet:not-there"]
    cfg = compose([*SMALL, *words])
    with caplog.at_level(logging.INFO):
        initial_model(cfg)
    assert "part.backbone.pretrained stays unread" in caplog.text
    assert "weights stays unread" in caplog.text


def test_a_checkpoint_of_two_stages_is_rebuilt_without_the_hub() -> None:
    """Faster R-CNN's C4 head is made of the last stage of a pretrained ResNet too."""
    cfg = compose(["model=faster_rcnn_c4", "size=small", "part.backbone.pretrained=true"])
    node = OmegaConf.to_container(cfg.model, resolve=True)
    assert node["head"]["region_head"]["pretrained"] is True
    region_head = unread(node)["head"]["region_head"]
    assert {"pretrained", "weights"}.isdisjoint(region_head)
    assert unread(node)["head"]["coder"] == node["head"]["coder"]  # its `weights` are numbers


def test_only_what_names_a_file_or_the_hub_is_left_out_of_a_checkpoints_model() -> None:
    neck = {"_target_": "mine.Fused", "weights": "softmax"}
    backbone = {"_target_": "mine.Backbone", "weights": "file.pt", "depth": 3}
    found = unread({"backbone": backbone, "neck": neck})
    assert found == {"backbone": {"_target_": "mine.Backbone", "depth": 3}, "neck": neck}


def test_an_empty_name_of_a_file_is_no_wish_for_random_weights() -> None:
    with pytest.raises(ValueError, match="weights=''"):
        initial_model(compose([*SMALL, "weights="]))
