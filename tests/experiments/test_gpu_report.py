"""The report on a GPU runs, in small on the CPU, and tells of what fails."""

import json
import time
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch

from experiments import benchmark
from experiments.gpu_report import programs, race, report, sections, step

CPU = torch.device("cpu")
SMALL = ["--device", "cpu", "--families", "yolov3_tiny", "--words", "size=small", "--size", "64",
         "--batch", "2", "--no-compile", "--repeats", "1", "--pictures", "16", "--workers", "0",
         "--loader-seconds", "0", "--train-seconds", "1"]  # fmt: skip
TESTS = """
import pytest

pytestmark = pytest.mark.gpu


def test_that_passes():
    pass


def test_that_fails():
    assert 1 == 2


@pytest.mark.skip
def test_that_is_skipped():
    pass
"""


@pytest.fixture
def gpu_tests(tmp_path: Path) -> Path:
    file = tmp_path / "test_some.py"
    file.write_text(TESTS)
    return file


def test_a_small_run_writes_and_prints_what_it_found(
    tmp_path: Path, gpu_tests: Path, capsys
) -> None:
    names = ["tests", "race", "synchronisations", "profile", "loader"]
    given = ["--tests", str(gpu_tests), "--peak", "1", "--sections", *names]
    found, errors = run_to_failure(tmp_path, given)
    assert list(found) == names
    assert list(errors) == ["tests"]
    assert "exit code 1" in errors["tests"]
    counts = {"passed": 1, "failed": 1, "skipped": 1, "failures": ["test_that_fails"]}
    assert found["tests"] == counts
    check_race(found["race"]["yolov3_tiny"])
    assert found["synchronisations"]["yolov3_tiny"] == {"count": None, "places": None}
    assert list(found["loader"]) == ["uncached", "cached"]
    printed = capsys.readouterr().out
    assert "| yolov3_tiny | 64 | train | ours, " in printed
    assert "Failed: RuntimeError: exit code 1" in printed


def test_a_training_that_is_refused_keeps_no_other_section_from_running(tmp_path: Path) -> None:
    given = ["--families", "nowhere", "--sections", "training", "profile", "loader"]
    found, errors = run_to_failure(tmp_path, given)
    assert list(errors) == ["training", "profile"]
    assert all("nowhere" in error for error in errors.values())
    assert found["loader"]["uncached"]["images/s"] > 0


@pytest.mark.slow
def test_a_training_tells_its_rate_and_losses(tmp_path: Path) -> None:
    told = benchmark.main(["gpu", *SMALL, "--into", str(tmp_path), "--sections", "training"])
    found = told["sections"]["training"]["results"]
    assert found["steps"] >= 1
    assert found["images_per_second"] > 0
    assert found["loss_first"] > 0
    assert found["metrics"]["AP"] >= 0


def run_to_failure(into: Path, given: list[str]) -> tuple[dict, dict]:
    """Results and errors by section, as they were written by a report that exits with 1."""
    with pytest.raises(SystemExit, match="1"):
        benchmark.main(["gpu", *SMALL, *given, "--into", str(into / "reports")])
    (file,) = (into / "reports").glob("*.json")
    told = json.loads(file.read_text())["sections"]
    errors = {name: section["error"] for name, section in told.items() if section["error"]}
    return {name: section["results"] for name, section in told.items()}, errors


def check_race(found: dict) -> None:
    for name, one in found["train"].items():
        assert one["images_per_second"] == 2 / one["seconds"]
        if name.endswith("bf16"):  # beside one TFLOP/s
            rate = 3 * found["operations"] * one["images_per_second"] / 1e12
            assert one["share_of_peak"] == pytest.approx(rate)
        else:
            assert one["share_of_peak"] is None


def test_without_a_gpu_it_says_so(monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert report.main([]) == {}
    assert capsys.readouterr().out.startswith("torch sees no GPU here")


def test_a_section_that_fails_keeps_what_it_had_found() -> None:
    def section(results: sections.Results) -> None:
        sections.each("abc", lambda name: {"a": 1, "c": 3}[name], results)

    found = sections.outcome(section, budget=60)
    assert found["results"] == {"a": 1, "c": 3}
    assert found["error"] == "RuntimeError: b: KeyError: 'b'"


def test_a_section_ends_with_its_time() -> None:
    def section(results: sections.Results) -> None:
        results["begun"] = True
        sections.each(["long"], lambda name: time.sleep(60), results)

    found = sections.outcome(section, budget=0.1)
    assert found["results"] == {"begun": True}
    assert found["error"] == "OutOfTime: stopped after its 0.1 s"
    assert found["seconds"] < 10


def test_a_program_that_takes_too_long_is_interrupted(tmp_path: Path) -> None:
    words = ["-c", "print('begun', flush=True); import time; time.sleep(60)"]
    with pytest.raises(RuntimeError, match=r"interrupted after 1 s, exit code .*KeyboardInterrupt"):
        programs.run(words, tmp_path, seconds=1)


def test_losses_are_those_of_whole_epochs(tmp_path: Path) -> None:
    assert programs.costs(tmp_path) == {}
    (tmp_path / "run.json").write_text('{"steps": 9}')
    assert programs.costs(tmp_path)["steps"] == 9
    (tmp_path / "metrics.csv").write_text("step,train/loss\n4,8.0\n8,6.0\n9,7.0\n")
    found = programs.costs(tmp_path)
    assert (found["loss_first"], found["loss_last"]) == (8.0, 6.0)


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40", None),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
    ],
)
def test_the_peak_is_that_of_the_card(card: str, peak: float | None) -> None:
    assert race.peak_of(card) == peak


def test_waits_are_counted_by_line() -> None:
    def wait() -> None:
        warnings.warn(f"{step.WAITED} (from Python)", stacklevel=1)

    def work() -> None:
        wait()
        warnings.warn("something else", stacklevel=1)
        wait()

    (place, count), *others = step.waits(work).items()
    assert place.startswith("tests/experiments/test_gpu_report.py:")
    assert (count, others) == (2, [])


def test_a_profile_tells_what_takes_the_time() -> None:
    images, weight = torch.rand(4, 16, 64, 64), torch.rand(16, 16, 3, 3)
    found = step.profile(partial(torch.conv2d, images, weight), CPU)
    assert found["convolutions"] > 0.5
    assert found["operators"][0]["share"] <= found["convolutions"] <= 1
    assert sum(one["seconds"] for one in found["operators"]) <= found["seconds"] * 1.0001


def test_a_budget_names_a_section() -> None:
    assert report.seconds_of("race=5") == ("race", 5.0)
    with pytest.raises(ValueError, match="expected one of tests, race"):
        report.seconds_of("rase=5")
