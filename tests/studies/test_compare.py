"""Finished runs that no study has planned are grouped by words and paired by seed."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from detectors.studies.compare import grouped, sweep_told

BASIS = {"key": "1", "state": "done", "split": "val", "select": "last"}


def write(folder: Path, words: list[str], seed: int, **facts: Any) -> None:
    folder.mkdir(parents=True)
    record = {**BASIS, "key": folder.name, "words": [*words, f"seed={seed}"], "seed": seed, **facts}
    (folder / "run.json").write_text(json.dumps(record))
    for name in ("truth.json", "detections.json"):
        (folder / name).write_text("[]")


def test_runs_of_a_sweep_are_grouped_in_the_order_of_its_jobs(tmp_path: Path) -> None:
    for job in range(12):
        own = [["model=ssd"], ["model=fcos"], ["model=fcos", "trick=[ema]"]][job // 4]
        cosmetic = ["logger=[]", "hydra.sweep.dir=x", "data.num_workers=2"]
        write(tmp_path / str(job), [*own, "size=small", *cosmetic], job % 4)
    group = grouped([tmp_path])
    assert group.file["base"] == ["size=small"]
    assert group.file["variants"] == {
        "model=ssd": ["model=ssd"],
        "model=fcos": ["model=fcos"],
        "model=fcos trick=[ema]": ["model=fcos", "trick=[ema]"],
    }
    assert group.file["seeds"] == [0, 1, 2, 3]
    assert [cell.key for cell in group.runs] == [str(job) for job in range(12)]


def test_the_variant_without_words_of_its_own_is_plain(tmp_path: Path) -> None:
    write(tmp_path / "0", ["model=fcos"], 0)
    write(tmp_path / "1", ["trick=[ema]", "model=fcos"], 0)
    assert list(grouped([tmp_path / "0", tmp_path / "1"]).file["variants"]) == [
        "plain",
        "trick=[ema]",
    ]


def test_runs_without_a_number_keep_their_reason(tmp_path: Path) -> None:
    write(tmp_path / "0", [], 0)
    write(tmp_path / "1", ["act=mish"], 0, state="failed", reason="out of memory")
    write(tmp_path / "2", ["act=mish"], 1)
    (tmp_path / "2" / "detections.json").unlink()
    killed = {"state": "running", "host": socket.gethostname(), "pid": 2**22 + 1}  # no such process
    write(tmp_path / "3", [], 1, **killed)
    write(tmp_path / "4", [], 2, debug="fast")
    runs = grouped([tmp_path]).runs.values()
    assert [(run.state, run.reason.split(":")[0]) for run in runs] == [
        ("done", ""),
        ("failed", "out of memory"),
        ("failed", "it has no detections.json"),
        ("lost", "its process is gone"),
        ("failed", "debug=fast, which is no result"),
    ]


@pytest.mark.parametrize(
    ("words", "seeds", "told"),
    [
        (([], []), (0, 1), "found 2 runs of 1 variant in run.json files, expected two"),
        (([], [], ["act=mish"]), (0, 0, 0), "are both plain with seed 0: leave one out"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, words: tuple[list[str], ...], seeds: tuple[int, ...], told: str
) -> None:
    for job, (own, seed) in enumerate(zip(words, seeds, strict=True)):
        write(tmp_path / str(job), own, seed)
    with pytest.raises(ValueError, match=told):
        grouped([tmp_path])


def test_runs_measured_on_other_splits_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "0", [], 0)
    write(tmp_path / "1", ["act=mish"], 0, split="test")
    with pytest.raises(ValueError, match="split is val and test in different runs"):
        grouped([tmp_path])


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no run\.json in it or below"):
        grouped([tmp_path])


@pytest.mark.usefixtures("few_draws")
def test_a_sweep_is_told_as_a_table_with_its_failures(sweep: Path) -> None:
    told = sweep_told(sweep)
    assert f"detectors study compare 'runs=[{sweep}]'" in told
    assert "| trick=[mosaic] |" in told
    assert "trick=[ciou], seed 3: diverged: the loss is not finite in step 12" in told


def test_a_sweep_that_cannot_be_compared_says_why(tmp_path: Path) -> None:
    assert sweep_told(tmp_path) == ""
    write(tmp_path / "0", [], 0)
    assert sweep_told(tmp_path).startswith("No table of this sweep: runs=")
