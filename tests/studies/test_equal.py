"""Dearer variants train for fewer epochs, and for the same whenever they are asked about."""

from pathlib import Path

import pytest

from detectors.studies.cells import Planner
from detectors.studies.design import Study, read_study
from detectors.studies.equal import epochs_for, equalised
from detectors.studies.store import Store, write_record


def study(equal: str | None) -> Study:
    base = ["model=fcos", "size=small", "image_size=96", "trainer.max_epochs=12"]
    node = {"base": base, "variants": {"a": [], "b": ["act=mish"]}, "seeds": [1], "equal": equal}
    return read_study(node)


def lengths(asked: Study, folder: Path, may_try: bool = True) -> list[str]:
    found = equalised(asked, Planner(asked, folder / "study"), Store(folder / "store"), may_try)
    return [word for v in found.variants for word in v.words if word.startswith("trainer.")]


def test_all_cost_what_the_cheapest_costs() -> None:
    assert epochs_for({"a": 1.0, "b": 2.0, "c": 3.5, "d": 90.0}, 30) == {
        "a": 30,
        "b": 15,
        "c": 9,
        "d": 1,
    }


def test_operations_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"a": 10, "b": 30}
    monkeypatch.setattr(Planner, "_try", lambda planner, variants: None)
    monkeypatch.setattr(Planner, "costs", lambda planner, v: {"operations": counts[v.name]})
    with pytest.raises(ValueError, match="operations of the variants are not known: plan it first"):
        lengths(study("operations"), tmp_path, may_try=False)
    expected = ["trainer.max_epochs=12", "trainer.max_epochs=4"]
    assert lengths(study("operations"), tmp_path) == expected
    counts["b"] = 10
    assert lengths(study("operations"), tmp_path, may_try=False) == expected


def test_operations_that_cannot_be_counted_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = {"operations": None, "operations_missing": "no such operation"}
    monkeypatch.setattr(Planner, "_try", lambda planner, variants: None)
    monkeypatch.setattr(Planner, "costs", lambda planner, v: unknown)
    with pytest.raises(ValueError, match=r"operations of a cannot be counted \(no such operation"):
        lengths(study("operations"), tmp_path)


def test_seconds_are_those_of_runs_at_full_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Planner, "_try", lambda planner, variants: None)
    asked = study("seconds")
    with pytest.raises(ValueError, match=r"a, b has none: run once with study\.equal=null"):
        lengths(asked, tmp_path)
    for cell in Planner(asked, tmp_path / "study").planned([1]).cells:
        seconds = 60.0 if cell.variant == "a" else 90.0
        took = {"train_seconds": seconds, "images_seen": 100}
        write_record(tmp_path / "store" / cell.key, {"state": "done", "code": {}, **took})
    assert lengths(asked, tmp_path) == ["trainer.max_epochs=12", "trainer.max_epochs=8"]


def test_with_equal_images_all_train_as_long(tmp_path: Path) -> None:
    assert lengths(study("images"), tmp_path) == lengths(study(None), tmp_path) == []
