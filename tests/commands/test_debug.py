"""Debug runs do what their word says, and nobody takes them for results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detectors.config.compose import compose
from detectors.studies.keys import fingerprint, resolved, run_key
from detectors.studies.store import Store

Call = Callable[..., None]
WORDS = ["model=yolov3_tiny", "size=small", "image_size=64", "device=cpu", "precision=32-true"]
WORDS += ["data=scenes_easy", "scenes.layout.side=64", "data.train.read.count=6"]
WORDS += ["data.val.count=3", "data.batch_size=2", "hydra.run.dir=run"]


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run" / "run.json").read_text())


def test_a_fast_run_makes_one_step_of_any_plan_and_is_no_result(
    detectors: Call, tmp_path: Path
) -> None:
    plan = ["warmup.length=1000", "trainer.max_epochs=900", "trick=[mosaic,closing_mosaic]"]
    words = [*WORDS, *plan, "debug=fast"]
    detectors(tmp_path, "train", *words)
    found = record(tmp_path)
    assert (found["state"], found["debug"], found["workers"]) == ("done", "fast", 0)
    assert (found["steps"], found["epochs"], found["max_epochs"]) == (1, 1, 900)
    assert found["metrics"]["AP"] >= 0
    assert not (tmp_path / "run" / "checkpoints").exists()
    without = resolved(compose([word for word in words if word != "debug=fast"]))
    assert found["key"] != run_key(without, fingerprint(without))
    (told,) = Store(tmp_path / "store").adopt(tmp_path / "run")
    assert told.endswith("left out: debug=fast, which is no result")


def test_a_profile_is_in_the_run_folder(detectors: Call, tmp_path: Path) -> None:
    detectors(tmp_path, "train", *WORDS, "debug=profile", "callback.brief.steps=2")
    table = (tmp_path / "run" / "fit-profile.txt").read_text()
    (row,) = (line for line in table.splitlines() if line.startswith("|  run_training_batch "))
    assert row.split("|")[3].strip() == "2"  # calls


def test_a_range_test_ends_without_an_evaluation_or_a_checkpoint(
    detectors: Call, tmp_path: Path
) -> None:
    detectors(tmp_path, "train", *WORDS, "debug=lr_range", "trainer.max_steps=5")
    found = record(tmp_path)
    assert (found["state"], found["debug"], found["steps"]) == ("done", "lr_range", 5)
    assert (found["metrics"], found["last"], found["measured_epoch"]) == (None, {}, None)
    files = {file.name for file in (tmp_path / "run").iterdir()}
    assert {"lr_range.csv", "lr_range.png", "log.txt", "config.yaml"} <= files
    assert not files & {"metrics.json", "checkpoints", "pictures", "detections.json"}
    assert len((tmp_path / "run" / "lr_range.csv").read_text().splitlines()) == 6


def test_a_debug_word_of_ones_own_must_say_that_it_is_one(
    detectors: Call, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "own" / "debug").mkdir(parents=True)
    (tmp_path / "own" / "debug" / "mine.yaml").write_text("# @package _global_\nlatency: false\n")
    with pytest.raises(SystemExit):
        detectors(tmp_path, "train", *WORDS, "debug=mine", "--config-dir", "own")
    assert "its file must have the line `debug: mine`" in capsys.readouterr().err
