"""Words and tricks that would change nothing are refused."""

import time
from pathlib import Path

import pytest

import detectors
from detectors.commands.composition import chosen, compose
from detectors.commands.words import changes, check_words


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
    check_words(compose([words]), [words])


def test_a_trick_that_a_word_needs_passes() -> None:
    words = ["trick=[ema]", "callback.ema.decay=0.5"]
    check_words(compose(words), words)


@pytest.fixture
def search(tmp_path: Path) -> str:
    """Where Hydra finds a trick for the pooler, and one that sets what is so already."""
    (tmp_path / "trick").mkdir()
    header = "# @package _global_\n"
    (tmp_path / "trick/finer.yaml").write_text(header + "part: {pooler: {size: 14}}\n")
    (tmp_path / "trick/same.yaml").write_text(header + "part: {assigner: {forced: true}}\n")
    return f"hydra.searchpath=[file://{tmp_path}]"


def test_a_trick_for_a_part_that_the_model_lacks_is_refused(search: str) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"trick=finer changes pooler, which this model does not"):
        detectors.build("retinanet", [search, "size=small", "trick=[finer]"])
    assert time.monotonic() - began < 2
    words = [search, "model=faster_rcnn", "trick=[finer]"]
    check_words(compose(words), words)


def test_a_trick_that_changes_nothing_is_refused(search: str) -> None:
    with pytest.raises(ValueError, match="trick=same changes nothing here"):
        detectors.build("retinanet", [search, "size=small", "trick=[same]"])
    words = [search, "trick=[finer]", "part.pooler.size=14", "size=small"]
    with pytest.raises(ValueError, match="trick=finer changes nothing here"):
        detectors.build("faster_rcnn", words)
