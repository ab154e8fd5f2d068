"""A study folder agrees with its runs wherever it lies, until one digit of it is changed."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

from detectors.studies import tables
from detectors.studies.analysis import signed
from detectors.studies.compare import compare
from detectors.studies.measured import hashed
from detectors.studies.verify import verify
from tests.studies.simulated import write_run

RUN = "runs/0000000000000002"


def other_digit(file: Path, share: float) -> None:
    """Change the digit that stands at a share of the way through the digits of a file."""
    text = file.read_text(encoding="utf-8")
    places = [m.start() for m in re.finditer(r"\d", text)]
    place = places[int(share * (len(places) - 1))]
    digit = str((int(text[place]) + 1) % 10)
    file.write_text(text[:place] + digit + text[place + 1 :], encoding="utf-8")


def test_a_moved_folder_verifies(study: Path) -> None:
    assert verify(study) == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (f"{RUN}/detections.json", f"{RUN}/detections.json: changed since"),
        (f"{RUN}/truth.json", f"{RUN}/truth.json: changed since"),
        (f"{RUN}/run.json", f"{RUN}/run.json: changed since"),
    ],
)
def test_one_changed_digit_of_a_run_is_named(study: Path, name: str, told: str) -> None:
    other_digit(study / name, 0.62)
    assert verify(study)[0].startswith(told)


def test_one_changed_digit_of_a_table_is_named(study: Path) -> None:
    for name in tables.FILES:
        other_digit(study / name, 0.62)
    assert [line.split(" ")[0] for line in verify(study)] == [f"{name}," for name in tables.FILES]


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_one_changed_digit_of_the_page_is_named(study: Path, share: float) -> None:
    other_digit(study / "report.html", share)
    assert "report.html: changed since it was written" in verify(study)


def test_a_report_of_another_version_is_written_again_first(study: Path) -> None:
    old = json.loads((study / "results.json").read_text(encoding="utf-8"))
    (study / "results.json").write_text(json.dumps(signed({**old, "format": 1})))
    with pytest.raises(ValueError, match="format 1, expected 2"):
        verify(study)


@pytest.mark.parametrize("share", [0.1, 0.8])
def test_one_changed_digit_of_the_results_is_named(study: Path, share: float) -> None:
    other_digit(study / "results.json", share)
    lines = verify(study)
    assert lines
    assert all(line.startswith(("results.json", "table", "runs/", "report")) for line in lines)


def test_results_that_were_signed_anew_are_found_out(study: Path) -> None:
    """Who changes a verdict and its hash still has the detections against him."""
    file = study / "results.json"
    results = json.loads(file.read_text(encoding="utf-8"))
    changed = next(r for r in results["comparisons"] if r["variant"] == "trick=[mosaic]")
    before = changed["verdict"]["words"]
    changed["verdict"]["words"] = "better by 9.9 AP"
    file.write_text(json.dumps(signed(results)), encoding="utf-8")
    line = verify(study)[0]
    assert line.startswith("results.json: comparisons")
    assert line.endswith(f"'better by 9.9 AP' is written, {before!r} computed")


def test_a_run_that_reported_another_metric_is_named(study: Path) -> None:
    file = study / RUN / "run.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    record["metrics"]["AP75"] += 1e-5
    file.write_text(json.dumps(record), encoding="utf-8")
    results = json.loads((study / "results.json").read_text(encoding="utf-8"))
    runs = [run for variant in results["variants"] for run in variant["runs"]]
    next(r for r in runs if r["folder"] == RUN)["files"]["run.json"] = hashed(file)
    (study / "results.json").write_text(json.dumps(signed(results)), encoding="utf-8")
    assert re.match(rf"{RUN}: AP75 is 0\.\d+ by its detections, but run", verify(study)[0])


def test_a_folder_without_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no results\.json: write the report first"):
        verify(tmp_path)


def reference() -> float:
    """CPU seconds of work that takes longer on a slower machine: 0.13 where others use it."""
    numbers, begun = np.random.default_rng(0).random((200, 10_000)), time.process_time()
    for _ in range(20):
        np.floor(np.sort(numbers[:40], axis=1) * numbers[:40] / (numbers[:40] + 1))
    return time.process_time() - begun


@pytest.mark.slow
def test_sixty_runs_are_verified_in_seconds(tmp_path: Path) -> None:
    """Of 100 pictures; from their detections, because nothing is kept of what was computed."""
    jobs = [
        (words, seed) for words in ([], *([f"a={n}"] for n in range(1, 12))) for seed in range(5)
    ]
    for job, (words, seed) in enumerate(jobs):
        key = f"{job:016x}"
        write_run(tmp_path / "sweep" / str(job), words, seed, 0.5 + job / 200, 100, key=key)
    study, begun = tmp_path / "study", time.process_time()
    results = compare([tmp_path / "sweep"], study)
    compared = time.process_time() - begun
    with (study / "results.json").open("w", encoding="utf-8") as file:
        json.dump(results, file)
    tables.write(results, study)
    begun = time.process_time()
    assert verify(study) == []
    spent = time.process_time() - begun
    assert max(compared, spent) < max(3, 30 * reference())
