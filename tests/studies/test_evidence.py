"""A study's folder holds all that its report needs, wherever it is moved to."""

import json
from pathlib import Path

import pytest

from detectors.studies.design import Cell
from detectors.studies.evidence import gathered, keep, kept
from detectors.studies.store import Store, set_aside, write_record

NODE = {"name": "mine", "variants": {"a": [], "b": ["act=mish"]}}


def store(folder: Path) -> Store:
    for key, state in {"one": "done", "two": "diverged", "three": "failed"}.items():
        reason = None if state == "done" else "broken"
        write_record(folder / key, {"state": state, "reason": reason, "code": {}})
        (folder / key / "detections.json").write_text("[]")
        (folder / key / "large.ckpt").write_text("weights")
    return Store(folder)


def cells(*keys: str) -> list[Cell]:
    return [Cell(f"v{number}", 1, (), key) for number, key in enumerate(keys)]


def test_a_moved_folder_knows_its_runs_without_the_store(tmp_path: Path) -> None:
    found = store(tmp_path / "store")
    runs = {cell: found.run(cell.key) for cell in cells("one", "two", "three", "four")}
    keep(tmp_path / "study", NODE, runs, {"v4": "refused"})
    moved = (tmp_path / "study").rename(tmp_path / "moved")
    (tmp_path / "store").rename(tmp_path / "gone")
    done, failed = gathered(moved)
    assert kept(moved) == NODE
    assert done == {"v0": {1: moved / "runs" / "one"}}
    assert (done["v0"][1] / "detections.json").read_text() == "[]"
    assert not (done["v0"][1] / "large.ckpt").exists()
    expected = {"v1": "diverged: broken", "v2": "failed: broken", "v3": "missing"}
    expected["v4"] = "refused: refused"
    assert {variant: told[1] for variant, told in failed.items()} == expected


def test_a_run_that_is_trained_anew_takes_the_place_of_the_old(tmp_path: Path) -> None:
    found, (cell,) = store(tmp_path / "store"), cells("one")
    for content in ("[]", "[1]"):
        keep(tmp_path / "study", NODE, {cell: found.run("one")}, {})
        file = tmp_path / "study" / "runs" / "one" / "detections.json"
        assert file.samefile(found.folder / "one" / "detections.json")
        set_aside(found.folder / "one")
        write_record(found.folder / "one", {"state": "done", "code": {}})
        (found.folder / "one" / "detections.json").write_text(content)
    assert json.loads((found.folder / "one.1" / "detections.json").read_text()) == []


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no folder of a study, because it has no cells\.json"):
        gathered(tmp_path)


def test_a_refused_variant_has_its_reason_with_every_seed(tmp_path: Path) -> None:
    cells = {
        "runs": [{"variant": "plain", "seed": s, "key": "k", "state": "done"} for s in (1, 2)],
        "refused": {"cmbn": "retinanet has no batch norm"},
    }
    (tmp_path / "cells.json").write_text(json.dumps(cells))
    runs, failed = gathered(tmp_path)
    assert list(runs) == ["plain"]
    assert failed == {"cmbn": dict.fromkeys((1, 2), "refused: retinanet has no batch norm")}
