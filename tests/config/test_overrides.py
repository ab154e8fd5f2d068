"""Words and tricks that would change nothing are refused."""

import time
from pathlib import Path

import pytest

import detectors.engine.build
from detectors.config.compose import chosen, compose
from detectors.config.overrides import changes, check_overrides


def test_tricks_are_those_of_the_command_line_or_of_the_recipe() -> None:
    assert chosen("trick", ["model=fcos"]) == []
    assert chosen("trick", ["model=fcos", "trick=[ema,mosaic]"]) == ["ema", "mosaic"]
    assert chosen("trick", ["experiment=yolov4_coco"]) == ["mosaic", "multiscale"]
    assert chosen("trick", ["experiment=yolov4_coco", "trick=[]"]) == []


def test_changes_are_the_keys_that_differ() -> None:
    plain = compose(["model=fcos"])
    assert changes(plain, plain) == set()
    other = compose(["model=fcos", "seed=3", "callback.nonfinite.every=1"])
    assert changes(other, plain) == {"seed", "callback.nonfinite.every"}


@pytest.mark.parametrize("words", ["trick=[ema]", "trick=[mosaic,ema]", "experiment=yolov4_coco"])
def test_tricks_that_change_something_pass(words: str) -> None:
    check_overrides(compose([words]), [words])


def test_a_trick_that_a_word_needs_passes() -> None:
    words = ["trick=[ema]", "callback.ema.decay=0.5"]
    check_overrides(compose(words), words)


@pytest.fixture
def search(tmp_path: Path) -> str:
    """Where Hydra finds a trick for the pooler, and some that set what is so already."""
    (tmp_path / "trick").mkdir()
    header = "# @package _global_\n"
    (tmp_path / "trick/finer.yaml").write_text(header + "part: {pooler: {size: 14}}\n")
    (tmp_path / "trick/same.yaml").write_text(header + "part: {assigner: {forced: true}}\n")
    resolved = "num_classes: ${scenes.layout.num_classes}\n"  # ${data.num_classes} it was
    (tmp_path / "trick/resolved.yaml").write_text(header + resolved)
    default = "part: {backbone: {drop_path_rate: 0.0}}\n"
    (tmp_path / "trick/default.yaml").write_text(header + default)
    return f"hydra.searchpath=[file://{tmp_path}]"


def test_a_trick_for_a_part_that_the_model_lacks_is_refused(search: str) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match=r"trick=finer changes pooler, which this model does not"):
        detectors.build("retinanet", [search, "size=small", "trick=[finer]"])
    assert time.process_time() - began < 2
    words = [search, "model=faster_rcnn", "trick=[finer]"]
    check_overrides(compose(words), words)


def test_a_trick_that_changes_nothing_is_refused(search: str) -> None:
    with pytest.raises(ValueError, match="trick=same changes nothing here"):
        detectors.build("retinanet", [search, "size=small", "trick=[same]"])
    words = [search, "trick=[finer]", "part.pooler.size=14", "size=small"]
    with pytest.raises(ValueError, match="trick=finer changes nothing here"):
        detectors.build("faster_rcnn", words)


@pytest.mark.parametrize(
    ("family", "trick"),
    [("yolov3", "leaky"), ("yolov4", "csp"), ("fcos", "giou"), ("faster_rcnn", "smooth_l1")],
)
def test_a_trick_that_the_family_has_is_refused(family: str, trick: str) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match=f"trick={trick} changes nothing here"):
        detectors.build(family, ["size=small", f"trick=[{trick}]"])
    assert time.process_time() - began < 2


@pytest.mark.parametrize("trick", ["resolved", "default"])
def test_what_a_trick_comes_to_counts_not_how_it_is_written(search: str, trick: str) -> None:
    words = [search, "model=yolov3", "size=small", f"trick=[{trick}]"]
    with pytest.raises(ValueError, match=f"trick={trick} changes nothing here"):
        check_overrides(compose(words), words)


@pytest.mark.parametrize("first", ["soft_nms", "matrix_nms", "diou_nms", "box_fusion"])
def test_of_two_suppressors_the_first_is_refused(first: str) -> None:
    words = ["model=fcos", "size=small", f"trick=[{first},soft_nms_linear]"]
    with pytest.raises(ValueError, match=rf"trick={first} changes.* later trick"):
        check_overrides(compose(words), words)


def test_a_set_of_tricks_is_one_trick() -> None:
    words = ["model=yolov4", "size=small", "trick=[ema,yolov4_bos]"]
    assert chosen("trick", words) == ["ema", "yolov4_bos"]
    cfg = compose(words)
    check_overrides(cfg, words)
    assert cfg.part.act._target_ == "torch.nn.Mish"
    assert cfg.part.postprocess.suppressor._target_ == "detectors.postprocess.DIoU"


def test_an_added_key_that_nothing_reads_is_refused(search: str) -> None:
    with pytest.raises(ValueError, match=r"\+sead=1: nothing reads 'sead'\. Did you mean 'seed'"):
        detectors.build("yolov3", ["size=small", "+sead=1"])
    words = ["size=small", "+share=0.3", "+part.backbone.drop_path_rate=${share}"]
    check_overrides(compose(words), words)
