import re

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import detectors
from detectors.config.compose import compose
from detectors.config.instantiate import check_node, instantiate
from detectors.config.words import check_slots


def test_command_line_wins_over_trick_over_family() -> None:
    decays = [
        OmegaConf.select(compose(["model=fcos", *words]), "callback.ema.decay")
        for words in ([], ["trick=[ema]"], ["trick=[ema]", "callback.ema.decay=0.5"])
    ]
    assert decays == [None, 0.9998, 0.5]


def test_size_chooses_the_backbone_and_the_command_line_another() -> None:
    names = [
        compose(["model=fcos", *words]).part.backbone.name
        for words in ([], ["size=small"], ["size=small", "backbone=resnet50"])
    ]
    assert names == ["resnet50", "resnet18", "resnet50"]


@pytest.mark.parametrize("words", [["model=fcso"], ["sedd=1"], ["optimizer.lrr=1"]])
def test_unknown_words_are_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match=words[0].split("=")[0].split(".")[-1]):
        compose(words)


def test_part_that_the_model_does_not_use_is_refused() -> None:
    cfg = OmegaConf.create(
        {
            "part": {"a": {"inner": "${part.b}"}, "b": {"x": 1}, "c": {"x": 1}},
            "model": {"a": "${part.a}"},
        }
    )
    check_slots(cfg, ["a=1", "b=1", "part.b.x=2", "seed=3"])
    for word in ("c=giou", "part.c.x=2", "+part.c.y=2"):
        with pytest.raises(ValueError, match=r"does not use 'c'.* It uses: a, b"):
            check_slots(cfg, [word])


def test_misspelt_key_of_a_partial_is_named_with_its_place() -> None:
    partial = {"_target_": "torch.nn.Conv2d", "_partial_": True, "kernel_sise": 3}
    with pytest.raises(ValueError, match=r"model\.neck\.kernel_sise: .* mean 'kernel_size'"):
        check_node({"neck": partial}, "model")


CLASSES = "detectors.losses.classification"


@pytest.mark.parametrize(
    ("part", "key", "reason"),
    [
        *(
            (f"detectors.coders.{coder}", "reach", "centres.* coder=yolo")
            for coder in ("Delta", "Distance", "CenterOffset", "YoloV1")
        ),
        (f"{CLASSES}.GaussianFocal", "smoothing", "a heat map.* class_loss=focal"),
        (f"{CLASSES}.HeatmapFocal", "smoothing", "a heat map.* class_loss=focal"),
        ("detectors.heads.towers.BoxTower", "quality", "one or none.* tower=shared"),
    ],
)
def test_a_key_that_a_part_has_a_reason_to_lack_is_refused_with_the_reason(
    part: str, key: str, reason: str
) -> None:
    told = rf"head\.own\.{key}: {re.escape(part)} has no parameter '{key}': .*{reason}"
    with pytest.raises(ValueError, match=told):
        check_node({"own": {"_target_": part, "_partial_": True, key: 0}}, "head")


def test_what_a_constructor_lacks_is_named_with_its_place() -> None:
    node = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 3}
    with pytest.raises(
        ValueError, match=r"model\.neck: torch.* needs 'kernel_size'.*neck\.kernel_"
    ):
        check_node({"neck": node}, "model")
    check_node({"neck": node | {"_partial_": True}}, "model")


def test_build_takes_settings_and_leaves_hydra_alone() -> None:
    words = ["size=small", "part.neck.channels=32"]
    detector = detectors.build("fcos", words, num_classes=7, image_size=64)
    assert [spec.channels for spec in detector.neck.specs] == [32] * 5
    assert 7 in {len(weight) for weight in detector.head.parameters()}
    assert not GlobalHydra.instance().is_initialized()


def test_build_inside_of_a_running_job(tmp_path) -> None:
    import hydra

    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        running = GlobalHydra.instance().hydra
        compose(["model=fcos"])
        assert GlobalHydra.instance().hydra is running


def test_wrong_value_is_told_with_its_place() -> None:
    cfg = OmegaConf.create({"ema": {"_target_": "detectors.callbacks.ema.EMA", "decay": 2}})
    outer = OmegaConf.create({"callback": cfg})
    with pytest.raises(ValueError, match=r"callback\.ema: decay is 2, expected"):
        instantiate(outer, "callback")


def test_a_value_that_comes_through_a_link_is_told_with_its_key() -> None:
    with pytest.raises(ValueError, match=r"^model\.backbone\.strides: .*the value of part\.levels"):
        detectors.build("fcos", ["size=small", "part.levels=1.5"])
    with pytest.raises(ValueError, match=r"^model\.head\.tower\.depth: ") as told:
        detectors.build("fcos", ["size=small", "part.tower.depth=-1"])
    assert "the value of" not in str(told.value)
