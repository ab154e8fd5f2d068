"""A run goes on under the words it began with; what may differ is listed in one place."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from detectors.config.compose import compose
from detectors.config.links import with_links
from detectors.engine.resume import Resumed, check_model, differences, resumed_from
from detectors.structures import CHECKPOINT_FORMAT

WORDS = ["model=faster_rcnn_c4", "size=small", "data=scenes_easy", "trick=[ema]"]


@pytest.fixture(scope="module")
def first() -> DictConfig:
    return compose([*WORDS, "run_dir=first"])


@pytest.fixture(scope="module")
def file(first: DictConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    content = {"config": with_links(first), "format": CHECKPOINT_FORMAT, "classes": ["a", "b"]}
    torch.save(content, path)
    return path


def changed(first: DictConfig, **values: Any) -> DictConfig:
    """The config under other values by key, `__` for a dot: the same as by words, but sooner."""
    cfg = first.copy()
    OmegaConf.set_struct(cfg, False)
    for key, value in values.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, force_add=True)
    return cfg


MAY_CHANGE = {
    "trainer__max_epochs": 99,
    "trainer__max_steps": 5,
    "trainer__log_every_n_steps": 1,
    "trainer__checkpoint_minutes": 3,
    "data__num_workers": 7,
    "data__cache": "ram",
    "device": "cpu",
    "logger": {},
    "callback__table": None,
    "callback__pictures__count": 1,
    "run_dir": "second",
    "report": True,
    "weights": "darknet:x",
    "part__backbone__pretrained": True,
}


def test_what_changes_no_step_may_change(first: DictConfig, file: Path) -> None:
    for key, value in MAY_CHANGE.items():
        cfg = changed(first, ckpt_path=str(file), **{key: value})
        resumed = resumed_from(cfg, Path("none"))
        assert resumed == Resumed(file, ["a", "b"]), key
    assert resumed_from(first, Path("none")) is None


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("optimizer__lr", 0.5, r": optimizer\.lr was [\d.e-]+ and is 0\.5\. Take"),
        ("seed", 3, r": seed was 0 and is 3\. Take"),
        ("precision", "bf16-mixed", r": precision was auto and is bf16-mixed\. Take"),
        ("data__batch_size", 3, r": data\.batch_size was 16 and is 3\. Take"),
        ("augment__flip__probability", 0.1, r": augment\.flip\.probability was 0\.5 and is 0\.1\."),
        ("scenes__layout__side", 64, r": scenes\.layout\.side was 192 and is 64\. Take"),
        (
            "part__postprocess__detections",
            5,
            r": part\.postprocess\.detections was \d+ and is 5\. Take",
        ),
        ("callback__ema__decay", 0.5, r": callback\.ema\.decay was 0\.9998 and is 0\.5\. Take"),
        ("callback__own", {"_target_": "a.B"}, r"callback\.own\._target_ was not there and is a"),
        ("trainer__devices", 2, r": trainer\.devices was 1 and is 2\. Take"),
        ("data__train__read", None, r"and 1?\d more\. Take"),
        ("optimizer__algorithm__betas", [0, 1], r"betas was \[0\.9, 0\.999\] and is \[0, 1\]"),
    ],
)
def test_anything_else_is_refused_by_key_with_both_values(
    key: str, value: Any, told: str, first: DictConfig, file: Path
) -> None:
    cfg = changed(first, ckpt_path=str(file), **{key: value})
    with pytest.raises(ValueError, match=rf"of a run with other words.*{told}"):
        resumed_from(cfg, Path("none"))


def test_a_checkpoint_whose_links_were_resolved_compares_as_well(first: DictConfig) -> None:
    older = OmegaConf.to_container(first, resolve=True)
    assert differences(first, older) == {}
    assert differences(changed(first, seed=3), older) == {"seed": (0, 3)}


def test_a_new_argument_at_its_default_is_no_difference(first: DictConfig) -> None:
    older: Any = OmegaConf.to_container(first, resolve=True)
    del older["data"]["min_objects"]
    assert differences(first, older) == {}
    found = differences(changed(first, data__min_objects=4), older)
    assert list(found) == ["data.min_objects"]


def test_a_part_that_stood_elsewhere_is_no_difference(first: DictConfig) -> None:
    older = with_links(first)
    older["part"]["elsewhere"] = {"outer": {"inner": older["part"].pop("head")}}
    older["model"]["head"] = "${part.elsewhere.outer.inner}"
    assert differences(first, older) == {}
    older["part"]["elsewhere"]["outer"]["inner"]["sampler"]["count"] = 3
    assert "part.head.sampler.count" in differences(first, older)


def test_a_model_is_compared_without_the_rest(first: DictConfig, file: Path) -> None:
    content = torch.load(file, weights_only=True)
    check_model(changed(first, seed=3, part__backbone__pretrained=True), content, file)
    with pytest.raises(
        ValueError, match=r"another model than this config: part\.postprocess\.detections was"
    ):
        check_model(changed(first, seed=3, part__postprocess__detections=5), content, file)


def test_classes_that_the_files_have_by_now_must_be_those_of_the_run() -> None:
    resumed = Resumed(Path("last.ckpt"), ["cat", "dog"])
    resumed.check_classes(("cat", "dog"))
    with pytest.raises(ValueError, match=r"have the classes \['dog', 'cat'\].* began with \['cat"):
        resumed.check_classes(("dog", "cat"))
    with pytest.raises(ValueError, match="does not know emu, and dog of the model is not there"):
        resumed.check_classes(("cat", "emu"))


def test_weights_alone_are_no_run_to_go_on_with(first: DictConfig, tmp_path: Path) -> None:
    file = tmp_path / "best.safetensors"
    file.touch()
    first.ckpt_path = str(file)
    with pytest.raises(ValueError, match="start anew from its weights with weights="):
        resumed_from(first, tmp_path)
