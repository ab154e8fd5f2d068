"""What two runs must share to be compared is what the study says, and the rest is named."""

from typing import Any

import pytest

from detectors.studies.contract import asked, broken, contract
from detectors.studies.design import Study, read_study

RUN: dict[str, Any] = {
    "data": {"training": "ab", "measured": "ba", "classes": ["a", "b"], "image_ids": "c" * 64},
    "max_epochs": 30,
    "images_seen": 3000,
    "flops": 10,
    "train_seconds": 100.0,
    "image_size": [96, 96],
    "precision": "32-true",
    "device": "cpu",
    "threads": 1,
    "versions": {"torch": "2.11.0", "numpy": "2.4.0"},
    "split": "val",
    "select": "last",
}


def study(**keys: Any) -> Study:
    return read_study({"base": [], "variants": {"plain": [], "other": "neck=pan"}, **keys})


def lines(other: dict[str, Any], **keys: Any) -> list[str]:
    return broken(RUN, {**RUN, **other}, asked(study(**keys)))


def test_two_runs_that_share_all_are_comparable() -> None:
    assert lines({"seed": 3, "parameters": 7, "flops": 11}) == []


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"max_epochs": 36}, "epochs 30 and 36"),
        ({"image_size": [96, 128]}, "image size 96, 96 and 96, 128"),
        ({"threads": 2}, "threads 1 and 2"),
        ({"versions": {"torch": "2.12.0", "numpy": "2.4.0"}}, "versions torch 2.11.0 and 2.12.0"),
        ({"select": "best"}, "select last and best"),
        (
            {"data": {**RUN["data"], "image_ids": "d" * 64}},
            "evaluated pictures cccccccc and dddddddd",
        ),
        ({"data": {**RUN["data"], "training": "cd"}}, "training data ab and cd"),
        # Generated pictures have the same ids, whatever they show.
        ({"data": {**RUN["data"], "measured": "cd"}}, "measured data ba and cd"),
    ],
)
def test_what_differs_is_named_with_both_values(other: dict[str, Any], told: str) -> None:
    assert lines(other) == [told]


def test_what_is_free_may_differ() -> None:
    assert lines({"max_epochs": 36, "threads": 2}, free=["epochs", "threads"]) == []


def test_what_nobody_tells_is_not_the_same() -> None:
    old = {**RUN, "data": {"classes": ["a", "b"], "image_ids": "c" * 64}}
    assert broken(old, old, asked(study())) == [
        "training data unknown",
        "measured data unknown",
    ]


def test_other_classes_or_pictures_are_never_comparable() -> None:
    other = {"training": "ef", "measured": "fe", "classes": ["a"], "image_ids": "d" * 64}
    assert lines({"data": other}, free=["data", "evaluation"]) == [
        "classes a, b and a",
        "measured data ba and fe",
        "evaluated pictures cccccccc and dddddddd",
    ]


@pytest.mark.parametrize(
    ("equal", "other", "told"),
    [
        ("images", {"max_epochs": 29, "images_seen": 3040}, []),
        ("images", {"max_epochs": 29, "images_seen": 3100}, ["images 3000 and 3100"]),
        ("operations", {"flops": 20, "images_seen": 1500, "max_epochs": 15}, []),
        ("operations", {"flops": 20}, ["operations 3e+04 and 6e+04"]),
        ("seconds", {"train_seconds": 109.0, "images_seen": 50, "max_epochs": 3}, []),
        ("seconds", {"train_seconds": 150.0}, ["seconds 100 and 150"]),
    ],
)
def test_a_budget_must_agree_to_half_an_epoch(
    equal: str, other: dict[str, Any], told: list[str]
) -> None:
    assert lines(other, equal=equal) == told


def test_pairs_are_of_one_seed() -> None:
    """A machine may change between two seeds, as long as both runs of a pair are on one."""
    new = {**RUN, "threads": 2}
    told = contract(study(), {"plain": {1: RUN, 2: new}, "other": {1: RUN, 2: new}})
    assert told["broken"] == {}
    assert told["differed"]["threads"] == {"plain": "1; 2", "other": "1; 2"}
    assert told["agreed"]["epochs"] == "30"
    told = contract(study(), {"plain": {1: RUN}, "other": {1: new}})
    assert told["broken"] == {"other": ["threads 1 and 2"]}


def test_runs_that_went_on_elsewhere_are_named() -> None:
    resumed = {**RUN, "earlier": [{"threads": 4}]}
    told = contract(study(), {"plain": {1: RUN}, "other": {1: resumed}})
    assert told["mixed"] == ["other, seed 1: an earlier part of the run had other threads"]


def test_files_that_were_changed_between_runs_are_named() -> None:
    """Those that both have imported: a trick has files that plain runs never read."""
    plain = {**RUN, "code": {"detectors/a.py": "1", "detectors/b.py": "1"}}
    other = {**RUN, "code": {"detectors/a.py": "1", "detectors/b.py": "2", "detectors/c.py": "1"}}
    assert contract(study(), {"plain": {1: plain}, "other": {1: other}})["code"] == [
        "detectors/b.py"
    ]
