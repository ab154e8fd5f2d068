"""A run that is trained again must be what it was, where that is promised."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from detectors.studies import retrain
from detectors.studies.design import Cell
from detectors.studies.evidence import keep
from detectors.studies.retrain import others, retrained
from detectors.studies.store import Run

TODAY = {"device_name": "a CPU", "threads": 1, "versions": {"torch": "2.15.0", "cuda": None}}
RECORD = {
    **TODAY,
    "device": "cpu",
    "code": {},
    "earlier": [],
    "words": ["seed=7", "ckpt_path=last"],
}

# Trains in milliseconds: what it finds follows from the seed.
TRAIN = """
import json, pathlib, sys
said = dict(word.split("=", 1) for word in sys.argv[1:])
assert "ckpt_path" not in said
folder = pathlib.Path(said["hydra.run.dir"])
folder.mkdir()
for name in ("metrics.json", "detections.json"):
    (folder / name).write_text(json.dumps({"AP": int(said["seed"])}))
(folder / "run.json").write_text(json.dumps({"key": folder.name}))
"""
COMMAND = (sys.executable, "-c", TRAIN)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a study of one run that is done."""
    monkeypatch.setattr(retrain, "_check_conditions", lambda *_: None)
    run = tmp_path / "store" / "k"
    run.mkdir(parents=True)
    for name in ("metrics.json", "detections.json"):
        (run / name).write_text(json.dumps({"AP": 7}))
    (run / "run.json").write_text(json.dumps(RECORD))
    cell = Cell("plain", 7, ("seed=7",), "k")
    folder = tmp_path / "study"
    folder.mkdir()
    keep(folder, {}, {cell: Run("k", "done", "", run, RECORD)}, {})
    return folder


def test_the_same_is_found_and_removed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert retrained(study, 1, 3, command=COMMAND) == []
    assert capsys.readouterr().out == "training plain, seed 7 again (k), drawn by retrain_seed=3\n"
    assert not any((study / "retrained").iterdir())


@pytest.mark.parametrize("name", ["metrics.json", "detections.json"])
def test_the_first_file_that_differs_is_named(name: str, study: Path) -> None:
    (study / "runs" / "k" / name).write_text(json.dumps({"AP": 8}))
    (line,) = retrained(study, 1, 3, command=COMMAND)
    assert line == f"plain, seed 7: {study}/retrained/k/{name} is not {study}/runs/k/{name}"


def test_a_failure_and_another_key_are_told(study: Path) -> None:
    (line,) = retrained(study, 1, 3, command=(sys.executable, "-c", "raise SystemExit(4)"))
    assert line.startswith("plain, seed 7: it failed with exit code 4, see ")
    other = TRAIN.replace('"key": folder.name', '"key": "another"')
    (line,) = retrained(study, 1, 3, command=(sys.executable, "-c", other))
    assert "its words are those of the run another now" in line


def test_more_runs_than_there_are_is_refused(study: Path) -> None:
    with pytest.raises(ValueError, match="retrain=2: the study has 1 finished runs"):
        retrained(study, 2, 3, command=COMMAND)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"code": {"detectors/gone.py": "0"}}, [("code", "detectors/gone.py changed since")]),
        ({"threads": 2}, [("machine", "threads was 2 and is 1")]),
        ({"device_name": "b"}, [("machine", "device_name was b and is a CPU")]),
        (
            {"earlier": [{"threads": 2, "workers": 1}]},
            [("machine", "a part of the run had other threads, workers")],
        ),
        (
            {"versions": {"torch": "2.14.0", "cuda": None}},
            [("versions", "torch was 2.14.0 and is 2.15.0")],
        ),
    ],
)
def test_what_is_other_than_for_the_run_is_named(changed: Any, expected: Any) -> None:
    assert list(others({**RECORD, **changed}, TODAY)) == expected


def test_other_conditions_are_refused_unless_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = f"print({json.dumps(TODAY)!r})"
    monkeypatch.setattr(retrain, "CONDITIONS", (sys.executable, "-c", answer))
    record = {**RECORD, "threads": 2}
    with pytest.raises(ValueError, match=r"threads was 2 and is 1: .* accept=\[machine\]"):
        retrain._check_conditions("plain, seed 7", record, ())
    retrain._check_conditions("plain, seed 7", record, ["machine"])
