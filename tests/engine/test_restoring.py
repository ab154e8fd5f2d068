"""A word of an evaluation reaches everything that refers to it, or is refused."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from detectors.config.compose import compose
from detectors.config.links import with_links
from detectors.engine.restoring import restored_data

WORDS = ["data=yolo", "data.train.root=old.yaml", "data.num_classes=2", "run_dir=none"]


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, Any]:
    return {"config": with_links(compose(WORDS)), "classes": ["cat", "dog"]}


def restored(checkpoint: dict[str, Any], word: str, split: str = "val") -> Any:
    changes = OmegaConf.from_dotlist([word.lstrip("+")]) if word else OmegaConf.create()
    changes = OmegaConf.merge({"data": {}}, changes)
    return restored_data(checkpoint, changes, [], [word], split)  # type: ignore[arg-type]


def root(data: Any, split: str = "val") -> str:
    return data.readers[split].keywords["root"]


def test_what_refers_to_a_changed_key_changes_with_it(checkpoint: dict[str, Any]) -> None:
    assert root(restored(checkpoint, "")) == "old.yaml"
    data = restored(checkpoint, "+data.train.root=NOWHERE.yaml")
    assert root(data) == "NOWHERE.yaml"
    with pytest.raises(ValueError, match="no split test: use one of train, val"):
        data.source("test")
    assert root(restored(checkpoint, "+data.val.root=new.yaml")) == "new.yaml"
    assert restored(checkpoint, "+image_size=96").canvases() == {(96, 96)}
    assert restored(checkpoint, "+seed=7").seed == 7
    assert restored(checkpoint, "+data.batch_size=3").batch_size == 3
    classes = restored(checkpoint, "+data.classes=[dog,cat]")
    assert classes.readers["val"].keywords["classes"] == ["dog", "cat"]


@pytest.mark.parametrize(
    "word",
    [
        "+data.train.split=other",
        "+data.augment.flip.probability=0.1",
        "+data.mix.mosaic=1",
        "+optimizer.lr=0.5",
        "+nothing=1",
        "+num_classes=2",
    ],
)
def test_a_word_that_an_evaluation_does_not_read_is_refused(
    word: str, checkpoint: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"evaluation of val reads nothing that depends on"):
        restored(checkpoint, word)


def test_links_of_a_checkpoint_without_any_are_not_guessed(checkpoint: dict[str, Any]) -> None:
    """In checkpoints of before, links had been resolved."""
    resolved = OmegaConf.to_container(OmegaConf.create(checkpoint["config"]), resolve=True)
    older = {**checkpoint, "config": resolved}
    with pytest.raises(ValueError, match=r"nothing that depends on data\.train\.root"):
        restored(older, "+data.train.root=NOWHERE.yaml")
    assert root(restored(older, "+data.val.root=new.yaml")) == "new.yaml"


def test_each_split_reads_its_own_keys(checkpoint: dict[str, Any]) -> None:
    both = {**checkpoint, "config": with_links(compose([*WORDS, "data.test=${data.val}"]))}
    assert root(restored(both, "+data.val.root=new", split="test"), "test") == "new"
    for word, known in (("+data.train.split=other", both), ("+data.val.root=new", checkpoint)):
        with pytest.raises(ValueError, match="evaluation of test reads nothing"):
            restored(known, word, split="test")


def test_another_number_of_classes_is_refused(checkpoint: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="knows 2 classes, the data have 7"):
        restored(checkpoint, "+data.num_classes=7")
